import { describe, expect, test } from "bun:test";
import { checkPrices } from "../../bench/demo/check.ts";
import {
  REFERENCE_ROWS,
  fillPortfolio,
  normalCdf,
  oraclePrice,
} from "../../bench/demo/portfolio.ts";
import { RECORD_FLOATS, price, priceRecords } from "../../functions/blackscholes/blackscholes.ts";
import { testContext } from "../support/context.ts";

const ROWS = 1000;

type Floats = Float32Array<ArrayBuffer>;

function portfolio(rows: number, first = 0): { records: Floats; prices: Floats } {
  const records = new Float32Array(rows * RECORD_FLOATS);
  const prices = new Float32Array(rows);
  fillPortfolio(records, first);
  priceRecords(records, prices);
  return { records, prices };
}

describe("the kernel", () => {
  test.each(REFERENCE_ROWS.map(({ record, price }) => [record, price] as const))(
    "prices %j at the published %d",
    (record, published) => {
      const prices = new Float32Array(1);
      priceRecords(Float32Array.from(record), prices);
      expect(prices[0]!).toBeCloseTo(published, 3);
    },
  );

  test("prices a call and its put so that they differ by spot less discounted strike", () => {
    const terms = [80, 95, 0.03, 0.35, 1.5] as const;
    const prices = new Float32Array(2);
    priceRecords(Float32Array.from([...terms, 0, ...terms, 1]), prices);
    expect(prices[0]! - prices[1]!).toBeCloseTo(80 - 95 * Math.exp(-0.03 * 1.5), 3);
  });
});

describe("the function", () => {
  const records = portfolio(3).records;
  const input = new Uint8Array(records.buffer);
  const context = testContext();

  test("writes four bytes a record, the kernel's prices, and nothing behind them", () => {
    const output = new Uint8Array(16).fill(0xee);
    expect(price(input, output, context)).toBe(12);
    expect(new Float32Array(output.buffer, 0, 3)).toEqual(portfolio(3).prices);
    expect([...output.subarray(12)]).toEqual([0xee, 0xee, 0xee, 0xee]);
  });

  test("ignores bytes behind the last whole record", () => {
    expect(price(input.subarray(0, 71), new Uint8Array(12), context)).toBe(8);
    expect(price(input.subarray(0, 0), new Uint8Array(0), context)).toBe(0);
  });

  test("refuses an output that has no room for the prices", () => {
    expect(() => price(input, new Uint8Array(11), context)).toThrow(
      "3 prices need 12 bytes of output",
    );
  });
});

describe("the portfolio", () => {
  test("starts with the published rows", () => {
    const { records } = portfolio(REFERENCE_ROWS.length);
    for (const [i, { record }] of REFERENCE_ROWS.entries())
      expect(records.subarray(i * RECORD_FLOATS, (i + 1) * RECORD_FLOATS)).toEqual(
        Float32Array.from(record),
      );
  });

  test("is the same each time, also when it is made in pieces", () => {
    const whole = portfolio(ROWS).records;
    const pieces = [0, 137, 640].map((first, i, all) => {
      return portfolio((all[i + 1] ?? ROWS) - first, first).records;
    });
    expect(portfolio(ROWS).records).toEqual(whole);
    expect(pieces.flatMap((piece) => [...piece])).toEqual([...whole]);
  });

  test("has rows that differ and that make sense", () => {
    const { records, prices } = portfolio(ROWS);
    expect(new Set(prices).size).toBeGreaterThan(0.98 * ROWS);
    expect(records.every((value, i) => value > 0 || i % RECORD_FLOATS === 5)).toBe(true);
    expect(prices.every((value) => value >= 0)).toBe(true);
  });
});

describe("the oracle", () => {
  test("agrees with the published prices", () => {
    for (const { record, price: published } of REFERENCE_ROWS)
      expect(oraclePrice(...record)).toBeCloseTo(published, 3);
  });

  test("knows the normal distribution to double precision", () => {
    expect(normalCdf(0)).toBe(0.5);
    expect(normalCdf(1)).toBeCloseTo(0.841344746068543, 14);
    expect(normalCdf(-1.96)).toBeCloseTo(0.024997895148220435, 14);
    for (const x of [0.1, 0.9, 2, 3.5, 6]) expect(normalCdf(x) + normalCdf(-x)).toBeCloseTo(1, 14);
    expect([normalCdf(-40), normalCdf(40)]).toEqual([0, 1]);
  });
});

describe("checkPrices", () => {
  test("finds nothing wrong with the kernel's prices", () => {
    const { records, prices } = portfolio(ROWS);
    const { rows, worstError } = checkPrices(records, prices, 0, 1);
    expect(rows).toBe(ROWS);
    expect(worstError).toBeLessThan(2e-4);
    expect(checkPrices(records, prices, 0, 100).rows).toBe(ROWS / 100);
  });

  test.each([0, 4, 5, 500, 999])(
    "finds a price of row %d that is off by a tenth of a cent",
    (i) => {
      const { records, prices } = portfolio(ROWS);
      prices[i]! += 1e-3;
      expect(() => checkPrices(records, prices, 0, 1)).toThrow(`row ${i} is priced`);
    },
  );

  test("names the row by its place in the portfolio, not in the batch", () => {
    const { records, prices } = portfolio(10, 70);
    prices[3]! += 1;
    expect(() => checkPrices(records, prices, 70, 1)).toThrow("row 73 is priced");
  });

  test("finds prices that were never written", () => {
    const { records, prices } = portfolio(ROWS);
    prices[7] = Number.NaN;
    expect(() => checkPrices(records, prices, 0, 1)).toThrow("row 7 is priced NaN");
    expect(() => checkPrices(records, new Float32Array(ROWS), 0, 1)).toThrow("row 0 is priced 0");
  });

  test("checks a published row also when its step would skip it", () => {
    const { records, prices } = portfolio(ROWS);
    prices[3]! += 0.01;
    expect(() => checkPrices(records, prices, 0, 100)).toThrow("reference row 3 is priced");
  });
});

test("a reference row that was never priced is found", () => {
  const records = new Float32Array(5 * RECORD_FLOATS);
  fillPortfolio(records, 0);
  const prices = new Float32Array(5);
  priceRecords(records, prices);
  prices[3] = Number.NaN;
  expect(() => checkPrices(records, prices, 0, 100)).toThrow("reference row 3");
});
