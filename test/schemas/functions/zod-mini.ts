/** The functions of every library's module, with zod/mini. */
import * as z from "zod/mini";
import { defineFunction } from "rfaas/function";

export const area = defineFunction(
  { input: z.object({ w: z.number(), h: z.number() }), output: z.number() },
  ({ w, h }) => w * h,
);

export const double = defineFunction(
  {
    input: z.object({ n: z.pipe(z.string(), z.transform(Number)) }),
    output: z.pipe(
      z.number(),
      z.transform((n) => `${n}!`),
    ),
  },
  ({ n }) => 2 * n,
);

export const greet = defineFunction(
  {
    input: z.object({ name: z._default(z.string(), "you"), times: z.optional(z.number()) }),
    output: z.object({ text: z.string(), times: z._default(z.number(), 1) }),
  },
  ({ name, times }) => ({ text: `hello ${name}`, ...(times === undefined ? {} : { times }) }),
);

const Node: z.ZodMiniType<Tree, Tree> = z.object({
  value: z.number(),
  children: z.array(z.lazy(() => Node)),
});
interface Tree {
  value: number;
  children: Tree[];
}

export const sum = defineFunction({ input: Node, output: z.number() }, function add(tree): number {
  return tree.children.reduce((total, child) => total + add(child), tree.value);
});

export const deep = defineFunction(
  {
    input: z.object({ list: z.array(z.object({ n: z.number() })) }),
    output: z.object({ list: z.array(z.object({ n: z.number() })) }),
  },
  ({ list }) => (list.length === 0 ? { list: [{ n: "no" as never }] } : { list }),
);

export const half = defineFunction(
  {
    input: z.number().check(z.refine(async (n) => (await Promise.resolve(n)) % 2 === 0)),
    output: z.number(),
  },
  (n) => n / 2,
);
