/** One European option at a time, as a value and as a struct: the same formula with a name for every number. */
import { Type, defineFunction, struct } from "rfaas/function";
import { RECORD_FLOATS, priceRecords } from "./blackscholes.ts";

const Price = Type.Number({ minimum: 0 });

const Option = Type.Object({
  spot: Type.Number({ exclusiveMinimum: 0 }),
  strike: Type.Number({ exclusiveMinimum: 0 }),
  /** A year's, not in percent: 0.05. */
  rate: Type.Number(),
  volatility: Type.Number({ exclusiveMinimum: 0 }),
  years: Type.Number({ exclusiveMinimum: 0 }),
  kind: Type.Union([Type.Literal("call"), Type.Literal("put")]),
});

/** Prices an option. */
export const price = defineFunction({ input: Option, output: Price }, (option) =>
  priceOf(
    option.spot,
    option.strike,
    option.rate,
    option.volatility,
    option.years,
    option.kind === "put",
  ),
);

/** The same on registered memory: nothing is encoded. `put` is 0 for a call. */
export const priceStruct = defineFunction(
  {
    input: struct({
      spot: "f64",
      strike: "f64",
      rate: "f64",
      volatility: "f64",
      years: "f64",
      put: "u8",
    }),
    output: struct({ price: "f64" }),
  },
  ({ spot, strike, rate, volatility, years, put }, result) => {
    result.price = priceOf(spot, strike, rate, volatility, years, put !== 0);
  },
);

const record = new Float32Array(RECORD_FLOATS);
const priced = new Float32Array(1);

function priceOf(
  spot: number,
  strike: number,
  rate: number,
  volatility: number,
  years: number,
  put: boolean,
): number {
  record.set([spot, strike, rate, volatility, years, put ? 1 : 0]);
  priceRecords(record, priced);
  return Math.max(0, priced[0]!);
}
