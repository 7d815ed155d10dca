import { describe, expect, test } from "bun:test";
import {
  type Summary,
  median,
  medianSummary,
  quartiles,
  summarize,
} from "../../bench/statistics.ts";

describe("summarize", () => {
  test("reports order statistics of unsorted samples", () => {
    const samples = Float64Array.from({ length: 1000 }, (_, i) => ((i * 7) % 1000) + 1);
    expect(summarize(samples)).toMatchObject({
      p50: 501,
      p99: 991,
      p999: 1000,
      min: 1,
      max: 1000,
      mean: 500.5,
    });
  });

  test("sorts by value, not by text", () => {
    expect(summarize(Uint32Array.of(9, 100, 20))).toMatchObject({ min: 9, p50: 20, max: 100 });
    expect(summarize(Float64Array.of(9, 100, 20))).toMatchObject({ min: 9, p50: 20, max: 100 });
  });

  test("reports the deviation from the mean", () => {
    const { mean, stdev } = summarize(Float64Array.of(2, 4, 4, 4, 5, 5, 7, 9));
    expect([mean, stdev]).toEqual([5, 2]);
  });

  test("multiplies all of it by the scale", () => {
    const plain = summarize(Uint32Array.of(1, 2, 3, 10));
    const scaled = summarize(Uint32Array.of(1, 2, 3, 10), 0.5);
    for (const key of Object.keys(plain) as (keyof Summary)[])
      expect(scaled[key]).toBeCloseTo(plain[key] / 2, 12);
  });

  test("reports a single sample as everything, without deviation", () => {
    const all = { p50: 7, p99: 7, p999: 7, min: 7, max: 7, mean: 7, stdev: 0 };
    expect(summarize(Uint32Array.of(7))).toEqual(all);
  });

  test("adds up samples whose sum is more than 32 bits", () => {
    expect(summarize(new Uint32Array(4).fill(0xffff_ffff)).mean).toBe(0xffff_ffff);
  });
});

describe("median", () => {
  test.each<[number[], number]>([
    [[3], 3],
    [[3, 1, 2], 2],
    [[4, 1, 3, 2], 2.5],
    [[100, 9, 20], 20],
    [[-5, -1, -3], -3],
  ])("of %j is %d", (values, middle) => {
    expect(median(values)).toBe(middle);
  });

  test("leaves the values in their order", () => {
    const values = [3, 1, 2];
    median(values);
    expect(values).toEqual([3, 1, 2]);
  });

  test("of nothing is no number", () => {
    expect(median([])).toBeNaN();
  });
});

describe("quartiles", () => {
  test.each<[number[], [number, number]]>([
    [[7], [7, 7]],
    [
      [1, 2, 3, 4, 5],
      [2, 4],
    ],
    [
      [50, 10, 40, 20, 30],
      [20, 40],
    ],
    [
      [2, 1],
      [1, 2],
    ],
  ])("of %j are %j", (values, expected) => {
    expect(quartiles(values)).toEqual(expected);
  });

  test("enclose the median", () => {
    const values = [9, 1, 8, 2, 7, 3, 6];
    const [low, high] = quartiles(values);
    expect(low).toBeLessThanOrEqual(median(values));
    expect(high).toBeGreaterThanOrEqual(median(values));
  });
});

describe("medianSummary", () => {
  test("is the median of each figure, with the least minimum and the greatest maximum", () => {
    const window = (n: number): Summary => ({
      p50: n,
      p99: 10 * n,
      p999: 100 * n,
      min: n - 1,
      max: 1000 * n,
      mean: n + 0.5,
      stdev: n / 10,
    });
    expect(medianSummary([window(30), window(10), window(20)])).toEqual({
      ...window(20),
      min: 9,
      max: 30_000,
    });
  });
});
