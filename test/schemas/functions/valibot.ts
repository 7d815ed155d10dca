/** The functions of every library's module, with valibot. */
import * as v from "valibot";
import { defineFunction } from "rfaas/function";

export const area = defineFunction(
  { input: v.object({ w: v.number(), h: v.number() }), output: v.number() },
  ({ w, h }) => w * h,
);

export const double = defineFunction(
  {
    input: v.object({ n: v.pipe(v.string(), v.transform(Number)) }),
    output: v.pipe(
      v.number(),
      v.transform((n) => `${n}!`),
    ),
  },
  ({ n }) => 2 * n,
);

export const greet = defineFunction(
  {
    input: v.object({ name: v.optional(v.string(), "you"), times: v.optional(v.number()) }),
    output: v.object({ text: v.string(), times: v.optional(v.number(), 1) }),
  },
  ({ name, times }) => ({ text: `hello ${name}`, ...(times === undefined ? {} : { times }) }),
);

const Node: v.GenericSchema<Tree> = v.object({
  value: v.number(),
  children: v.array(v.lazy(() => Node)),
});
interface Tree {
  value: number;
  children: Tree[];
}

export const sum = defineFunction({ input: Node, output: v.number() }, function add(tree): number {
  return tree.children.reduce((total, child) => total + add(child), tree.value);
});

export const deep = defineFunction(
  {
    input: v.object({ list: v.array(v.object({ n: v.number() })) }),
    output: v.object({ list: v.array(v.object({ n: v.number() })) }),
  },
  ({ list }) => (list.length === 0 ? { list: [{ n: "no" as never }] } : { list }),
);

export const half = defineFunction(
  {
    input: v.pipeAsync(
      v.number(),
      v.checkAsync(async (n) => (await Promise.resolve(n)) % 2 === 0),
    ),
    output: v.number(),
  },
  (n) => n / 2,
);
