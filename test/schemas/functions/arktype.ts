/** The functions of every library's module, with arktype, which has no asynchronous checks. */
import { scope, type } from "arktype";
import { defineFunction } from "rfaas/function";

export const area = defineFunction(
  { input: type({ w: "number", h: "number" }), output: type("number") },
  ({ w, h }) => w * h,
);

export const double = defineFunction(
  {
    input: type({ n: type("string").pipe(Number) }),
    output: type("number").pipe((n) => `${n}!`),
  },
  ({ n }) => 2 * n,
);

export const greet = defineFunction(
  {
    input: type({ name: "string = 'you'", "times?": "number" }),
    output: type({ text: "string", times: "number = 1" }),
  },
  ({ name, times }) => ({ text: `hello ${name}`, ...(times === undefined ? {} : { times }) }),
);

const { tree } = scope({ tree: { value: "number", children: "tree[]" } }).export();

export const sum = defineFunction(
  { input: tree, output: type("number") },
  function add({ value, children }): number {
    return children.reduce((total, child) => total + add(child), value);
  },
);

export const deep = defineFunction(
  {
    input: type({ list: type({ n: "number" }).array() }),
    output: type({ list: type({ n: "number" }).array() }),
  },
  ({ list }) => (list.length === 0 ? { list: [{ n: "no" as never }] } : { list }),
);
