import { describe, expect, test } from "bun:test";
import { extentInWords, extentOf, pairsOf } from "../../bench/extent.ts";
import { UsageError } from "../../src/base/errors.ts";

/** Runs to the end of an extent on a clock that each pair moves on; returns what was told before each. */
function told(extent: Parameters<typeof pairsOf>[1], pairMs: number): [number, number][] {
  const told: [number, number][] = [];
  const bench = { at: (pair: number, of: number) => void told.push([pair, of]) };
  let nowMs = 0;
  for (const _ of pairsOf(bench, extent, () => nowMs)) nowMs += pairMs;
  return told;
}

describe("a benchmark goes on", () => {
  test("for as many pairs as it was told, however long they take", () => {
    expect(told({ pairs: 3 }, 1e6)).toEqual([
      [1, 3],
      [2, 3],
      [3, 3],
    ]);
  });

  test("until the time is over, and tells how many pairs that will be", () => {
    expect(told({ durationMs: 1000 }, 250)).toEqual([
      [1, 1],
      [2, 4],
      [3, 4],
      [4, 4],
    ]);
  });

  test("for one pair at least", () => {
    expect(told({ durationMs: 1 }, 5000)).toHaveLength(1);
  });
});

describe("how long", () => {
  test("is a number of pairs unless a duration is given", () => {
    expect(extentOf({}, 15)).toEqual({ pairs: 15 });
    expect(extentOf({ pairs: 2 }, 15)).toEqual({ pairs: 2 });
    expect(extentOf({ durationMs: 2000 }, 15)).toEqual({ durationMs: 2000 });
  });

  test("cannot be both", () => {
    expect(() => extentOf({ pairs: 2, durationMs: 2000 }, 15)).toThrow(UsageError);
  });

  test("is said in words", () => {
    expect(extentInWords({ pairs: 15 })).toBe("15 pairs");
    expect(extentInWords({ pairs: 1 }, "window")).toBe("1 window");
    expect(extentInWords({ durationMs: 30_000 }, "window")).toBe("30s in windows");
  });
});
