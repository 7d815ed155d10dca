/**
 * European options priced by the formula of Black and Scholes (1973), on PARSEC's record of six floats.
 *
 * The normal distribution is the polynomial 26.2.17 of Abramowitz and Stegun, "Handbook of Mathematical Functions": off by less
 * than 7.5e-8, and what PARSEC's kernel uses.
 */
import type { RawFunction } from "../../src/function/index.ts";

/** Floats of a record: spot, strike, rate, volatility, time in years, type (0 call, 1 put). */
export const RECORD_FLOATS = 6;

/** Prices the records of `input` (float32, six each) into `output` (float32, one each). */
export const price: RawFunction = (input, output) => {
  const count = Math.floor(input.length / (4 * RECORD_FLOATS));
  if (output.length < 4 * count)
    throw new RangeError(`${count} prices need ${4 * count} bytes of output`);
  const records = new Float32Array(input.buffer, input.byteOffset, count * RECORD_FLOATS);
  const prices = new Float32Array(output.buffer, output.byteOffset, count);
  priceRecords(records, prices);
  return 4 * count;
};

/** The kernel, for callers that have typed arrays. */
export function priceRecords(records: Float32Array, prices: Float32Array): void {
  for (let i = 0, at = 0; i < prices.length; i++, at += RECORD_FLOATS) {
    const spot = records[at]!;
    const strike = records[at + 1]!;
    const rate = records[at + 2]!;
    const volatility = records[at + 3]!;
    const time = records[at + 4]!;
    const deviation = volatility * Math.sqrt(time);
    const d1 =
      (Math.log(spot / strike) + (rate + 0.5 * volatility * volatility) * time) / deviation;
    const n1 = normal(d1);
    const n2 = normal(d1 - deviation);
    const discounted = strike * Math.exp(-rate * time);
    prices[i] =
      records[at + 5] === 0 ? spot * n1 - discounted * n2 : discounted * (1 - n2) - spot * (1 - n1);
  }
}

function normal(x: number): number {
  const positive = Math.abs(x);
  const k = 1 / (1 + 0.2316419 * positive);
  const tail =
    0.3989422804014327 *
    Math.exp(-0.5 * positive * positive) *
    k *
    (0.31938153 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429))));
  return x < 0 ? tail : 1 - tail;
}
