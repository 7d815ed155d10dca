/** The functions that `bench/typed.ts` calls: the same work on bytes, on values and in place. */
import { Type, defineFunction, struct } from "rfaas/function";

const Order = Type.Object({
  id: Type.String(),
  spot: Type.Number(),
  strike: Type.Number(),
  rate: Type.Number(),
  volatility: Type.Number(),
  years: Type.Number(),
  steps: Type.Integer({ minimum: 0 }),
  kind: Type.Union([Type.Literal("call"), Type.Literal("put")]),
  american: Type.Boolean(),
  desk: Type.String(),
});

/** The same number of bytes as the typed call has. */
export const raw = (input: Uint8Array, output: Uint8Array): number => {
  output.set(input);
  return input.length;
};

export const mirror = defineFunction({ input: Order, output: Order }, (order) => order);

export const steps = defineFunction({ input: Order, output: Type.Number() }, ({ steps }) => steps);

/** As many bytes each way as the struct call has. */
export const rawFew = (input: Uint8Array, output: Uint8Array): number => {
  output[0] = input[0]!;
  return 8;
};

const ORDER_FIELDS = {
  spot: "f64",
  strike: "f64",
  rate: "f64",
  volatility: "f64",
  years: "f64",
  barrier: "f64",
  rebate: "f64",
  dividend: "f64",
  steps: "u32",
  kind: "u32",
} as const;

export const inPlace = defineFunction(
  { input: struct(ORDER_FIELDS), output: struct({ value: "f64" }) },
  (order, result) => {
    result.value = order.spot + order.steps;
  },
);
