/** A portfolio to price: deterministic, with published prices to check the first rows and an independent oracle for all. */
import { RECORD_FLOATS } from "../../functions/blackscholes/blackscholes.ts";

interface ReferenceRow {
  record: readonly [
    spot: number,
    strike: number,
    rate: number,
    volatility: number,
    time: number,
    type: number,
  ];
  price: number;
}

/**
 * Textbook rows: J. Hull, "Options, Futures and Other Derivatives" (S = 42, K = 40; also PARSEC's first row), E. Haug, "The
 * Complete Guide to Option Pricing Formulas" (S = 60, K = 65), and the at-the-money year with 20 % volatility.
 */
export const REFERENCE_ROWS: readonly ReferenceRow[] = [
  { record: [42, 40, 0.1, 0.2, 0.5, 0], price: 4.7594 },
  { record: [42, 40, 0.1, 0.2, 0.5, 1], price: 0.8086 },
  { record: [60, 65, 0.08, 0.3, 0.25, 0], price: 2.1334 },
  { record: [100, 100, 0.05, 0.2, 1, 0], price: 10.4506 },
  { record: [100, 100, 0.05, 0.2, 1, 1], price: 5.5735 },
];

const SEED = 0x5eed;

/** Fills `records` with row `first` and those after it: the reference rows, then variations of them. */
export function fillPortfolio(records: Float32Array, first: number): void {
  const count = records.length / RECORD_FLOATS;
  for (let i = 0; i < count; i++) {
    const row = first + i;
    const { record } = REFERENCE_ROWS[row % REFERENCE_ROWS.length]!;
    records.set(record, i * RECORD_FLOATS);
    if (row < REFERENCE_ROWS.length) continue;
    const at = i * RECORD_FLOATS;
    records[at] = record[0] * (0.8 + 0.4 * random(row, 0));
    records[at + 3] = record[3] * (0.7 + 0.6 * random(row, 1));
    records[at + 4] = record[4] * (0.5 + random(row, 2));
  }
}

/** From 0 to 1, the same for the same row and salt, independent of the order in which rows are made (Mulberry32). */
function random(row: number, salt: number): number {
  let t = (SEED + Math.imul(row, 0x9e3779b1) + Math.imul(salt, 0x85ebca6b) + 0x6d2b79f5) | 0;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

/** The closed form in double precision, with another normal distribution than the kernel's. */
export function oraclePrice(
  spot: number,
  strike: number,
  rate: number,
  volatility: number,
  time: number,
  type: number,
): number {
  const deviation = volatility * Math.sqrt(time);
  const d1 = (Math.log(spot / strike) + (rate + (volatility * volatility) / 2) * time) / deviation;
  const d2 = d1 - deviation;
  const discounted = strike * Math.exp(-rate * time);
  return type === 0
    ? spot * normalCdf(d1) - discounted * normalCdf(d2)
    : discounted * normalCdf(-d2) - spot * normalCdf(-d1);
}

/**
 * The normal distribution by the algorithm of G. Marsaglia, "Evaluating the Normal Distribution" (2004): a Taylor series about
 * 0, exact to double precision for |x| < 7; the tails beyond are 0 and 1.
 */
export function normalCdf(x: number): number {
  if (x < -7) return 0;
  if (x > 7) return 1;
  let sum = x;
  let term = x;
  for (let i = 3, last = 0; sum !== last && i < 400; i += 2) {
    last = sum;
    term *= (x * x) / i;
    sum += term;
  }
  return 0.5 + sum * Math.exp(-0.5 * x * x - 0.9189385332046728);
}
