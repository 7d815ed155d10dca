/** Whether prices are right: against published values, an independent closed form, and put-call parity. */
import { RECORD_FLOATS, priceRecords } from "../../functions/blackscholes/blackscholes.ts";
import { REFERENCE_ROWS, oraclePrice } from "./portfolio.ts";

/** Float32 holds seven digits, and the kernel's polynomial seven decimals: prices of some hundreds agree to this. */
const TOLERANCE = 2e-4;

export interface CheckResult {
  rows: number;
  worstError: number;
}

/** Throws at the first wrong price. `every` picks rows; the published ones are checked when they are there. */
export function checkPrices(
  records: Float32Array,
  prices: Float32Array,
  firstRow: number,
  every: number,
): CheckResult {
  const count = prices.length;
  let rows = 0;
  let worstError = 0;
  for (let i = 0; i < count; i += every) {
    const [spot, strike, rate, volatility, time, type] = records.subarray(
      i * RECORD_FLOATS,
      (i + 1) * RECORD_FLOATS,
    ) as unknown as [number, number, number, number, number, number];
    const error = Math.abs(prices[i]! - oraclePrice(spot, strike, rate, volatility, time, type));
    if (!(error <= TOLERANCE))
      throw new Error(`row ${firstRow + i} is priced ${prices[i]}, off by ${error}`);
    worstError = Math.max(worstError, error);
    checkParity(
      records.slice(i * RECORD_FLOATS, (i + 1) * RECORD_FLOATS),
      prices[i]!,
      firstRow + i,
    );
    rows++;
  }
  for (let row = firstRow; row < Math.min(REFERENCE_ROWS.length, firstRow + count); row++) {
    const { price } = REFERENCE_ROWS[row]!;
    if (!(Math.abs(prices[row - firstRow]! - price) <= 1e-3))
      throw new Error(`reference row ${row} is priced ${prices[row - firstRow]}, not ${price}`);
  }
  return { rows, worstError };
}

/** A call less the put of the same terms is the spot less the discounted strike. */
function checkParity(record: Float32Array, price: number, row: number): void {
  const [spot, strike, rate, , time, type] = record as unknown as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const other = new Float32Array(1);
  record[5] = 1 - type;
  priceRecords(record, other);
  const difference = type === 0 ? price - other[0]! : other[0]! - price;
  const error = Math.abs(difference - (spot - strike * Math.exp(-rate * time)));
  if (!(error <= TOLERANCE)) throw new Error(`row ${row} breaks put-call parity by ${error}`);
}
