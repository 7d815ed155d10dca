/** The functions of every library's module, with zod 3. */
import { z } from "zod3";
import { defineFunction } from "rfaas/function";

/** The same type on both sides. */
export const area = defineFunction(
  { input: z.object({ w: z.number(), h: z.number() }), output: z.number() },
  ({ w, h }) => w * h,
);

/** Text outside, a number inside: on the way in, and on the way out. */
export const double = defineFunction(
  {
    input: z.object({ n: z.string().transform(Number) }),
    output: z.number().transform((n) => `${n}!`),
  },
  ({ n }) => 2 * n,
);

/** What the caller may leave out, the function has. */
export const greet = defineFunction(
  {
    input: z.object({ name: z.string().default("you"), times: z.number().optional() }),
    output: z.object({ text: z.string(), times: z.number().default(1) }),
  },
  ({ name, times }) => ({ text: `hello ${name}`, ...(times === undefined ? {} : { times }) }),
);

const Node: z.ZodType<Tree> = z.object({
  value: z.number(),
  children: z.array(z.lazy(() => Node)),
});
interface Tree {
  value: number;
  children: Tree[];
}

/** A recursive type. */
export const sum = defineFunction({ input: Node, output: z.number() }, function add(tree): number {
  return tree.children.reduce((total, child) => total + add(child), tree.value);
});

/** Wrong values are found deep inside. */
export const deep = defineFunction(
  {
    input: z.object({ list: z.array(z.object({ n: z.number() })) }),
    output: z.object({ list: z.array(z.object({ n: z.number() })) }),
  },
  ({ list }) => (list.length === 0 ? { list: [{ n: "no" as never }] } : { list }),
);

/** Checked by a promise. */
export const half = defineFunction(
  {
    input: z
      .number()
      .refine(async (n) => (await Promise.resolve(n)) % 2 === 0, "expected an even number"),
    output: z.number(),
  },
  (n) => n / 2,
);
