import { type RawFunction, Type, defineFunction, defineHooks, struct } from "rfaas/function";

export const double = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => 2 * n);

const Option = Type.Object({
  spot: Type.Number(),
  kind: Type.Union([Type.Literal("put"), Type.Literal("call")]),
});
export const price = defineFunction(
  {
    input: Option,
    output: Type.Object({ value: Type.Number(), note: Type.Optional(Type.String()) }),
  },
  ({ spot }) => ({ value: spot }),
);

export const scale = defineFunction(
  { input: struct({ factor: "f64", values: ["f32", 4] }), output: struct({ sum: "f64" }) },
  ({ factor, values }, output) => {
    output.sum = factor * values.length;
  },
);

export const sum: RawFunction = (input, output) => {
  output[0] = input.length;
  return 1;
};

export function first(input: Uint8Array<ArrayBuffer>, output: Uint8Array<ArrayBuffer>): number {
  output[0] = input[0]!;
  return 1;
}

export const hooks = defineHooks({
  async init({ state }) {
    state.set("started", true);
  },
});
