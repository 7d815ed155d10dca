import { describe, expect, test } from "bun:test";
import { type Summary, compare } from "../../bench/statistics.ts";
import {
  NO_DELAYS,
  type Swept,
  compareAtEqualDelay,
  delaysOf,
  levelFields,
  levelOf,
  sweepFields,
  sweptSummary,
} from "../../bench/sweep.ts";
import { delayCost, measureFloor } from "../../ffi/floor.ts";
import { ticksPerNs } from "../../ffi/system.ts";

const at = (p50: number, p99 = 2 * p50): Summary => ({
  ...{ p50, p99, p999: 3 * p50, min: p50, max: 4 * p50, mean: p50, stdev: 0 },
});
const swept = (...p50s: number[]): Swept => ({ at: p50s.map((ns) => at(ns)), all: at(p50s[0]!) });

describe("the samples of a sweep", () => {
  test("are summarized delay by delay, each delay taken off", () => {
    const samples = Uint32Array.of(30, 10, 20, 110, 130, 120);
    const { at: delays } = sweptSummary(samples, [0, 100], 1);
    expect(delays.map(({ p50 }) => p50)).toEqual([20, 20]);
    expect(delays.map(({ min, max }) => [min, max])).toEqual([
      [10, 30],
      [10, 30],
    ]);
  });

  test("give the median over the delays, and the rest of all calls together", () => {
    const samples = Uint32Array.of(10, 10, 10, 120, 120, 120, 500, 500, 900);
    const { all } = sweptSummary(samples, [0, 100, 200], 0.5);
    expect(all).toMatchObject({ p50: 10, p99: 10, p999: 350, min: 5, max: 350 });
  });

  test("are never less than nothing, where a delay was cut short", () => {
    expect(sweptSummary(Uint32Array.of(90), [100], 1).all.min).toBe(0);
  });
});

describe("a pair", () => {
  test("is compared at equal delay: a step that both have at different delays costs nothing at most of them", () => {
    const calls = swept(150, 150, 270, 270, 270);
    const floor = swept(100, 220, 220, 220, 220);
    // Over all calls the medians differ by 50; at the second delay the floor is slower.
    expect(compareAtEqualDelay(calls, floor).overhead_p50).toBe(50);
    expect(compareAtEqualDelay(calls, swept(100, 100, 220, 220, 100)).overhead_p50).toBe(50);
    expect(compareAtEqualDelay(swept(300, 200, 250), swept(100, 100, 125)).ratio_p50).toBe(2);
  });

  test("compares the 99th percentiles in the same way", () => {
    const calls: Swept = { at: [at(1, 40), at(1, 90), at(1, 30)], all: at(1) };
    const floor: Swept = { at: [at(1, 20), at(1, 30), at(1, 30)], all: at(1) };
    expect(compareAtEqualDelay(calls, floor).ratio_p99).toBe(2);
  });

  test("without a sweep is compared as it is", () => {
    const [call, floor] = [at(30), at(20)];
    expect(compareAtEqualDelay({ at: [call], all: call }, { at: [floor], all: floor })).toEqual(
      compare(call, floor),
    );
  });
});

test("a row has the medians over the pairs, delay by delay", () => {
  const calls = [swept(1, 20), swept(3, 40), swept(2, 30)];
  const floors = [swept(1, 9), swept(1, 7), swept(1, 8)];
  expect(sweepFields([0, 10], calls, floors)).toEqual({
    delays_ns: [0, 10],
    p50_ns: [2, 30],
    baseline_p50_ns: [1, 8],
  });
});

describe("a level", () => {
  test.each([
    [90, "near"],
    [199, "near"],
    [200, "far"],
    [400, "far"],
  ] as const)("of a floor of %d ns is %s", (ns, level) => {
    expect(levelOf(ns)).toBe(level);
  });

  test("has its own figures, where a run has met both", () => {
    const [calls, floors] = [
      [150, 500, 170, 520, 160].map((ns) => at(ns)),
      [100, 400, 110, 400, 100].map((ns) => at(ns)),
    ];
    const compared = calls.map((call, i) => compare(call, floors[i]!));
    expect(levelFields(calls, floors, compared)).toEqual({
      near: {
        ...{
          pairs: 3,
          p50_ns: 160,
          baseline_p50_ns: 100,
          overhead_p50_ns: 60,
          ratio_p50: 170 / 110,
        },
      },
      far: { pairs: 2, p50_ns: 510, baseline_p50_ns: 400, overhead_p50_ns: 110, ratio_p50: 1.275 },
    });
  });

  test("that no pair has is left out", () => {
    expect(Object.keys(levelFields([at(1)], [at(1)], [compare(at(1), at(1))]))).toEqual(["near"]);
  });
});

describe("delays", () => {
  test("are none where the round trip has no steps", () => {
    expect(delaysOf([])).toBe(NO_DELAYS);
  });

  test("are waited for in full, and none is no wait at all", () => {
    expect(delayCost(Math.round(10_000 * ticksPerNs()))).toBeGreaterThanOrEqual(
      10_000 * ticksPerNs(),
    );
    const { calls, floor } = delaysOf([0, 10_000]);
    for (const { asked, took } of [calls, floor]) {
      expect([asked[0], took[0]]).toEqual([0, 0]);
      // Less than asked only by the way through FFI.
      expect(took[1]!).toBeGreaterThan(9_000 * ticksPerNs());
    }
  });

  test("are in the floor's round trips, one delay after the other", () => {
    const us = (n: number): number => Math.round(n * 1000 * ticksPerNs());
    const samples = 20;
    const ticks = measureFloor(
      {
        ...{ bytes: 8, warmup: 5, samples, clientCpu: -1, echoCpu: -1, block: false, gapNs: 0 },
        delays: Uint32Array.of(0, us(50), us(200)),
      },
      new Uint32Array(new ArrayBuffer(4 * 3 * samples)),
    );
    expect(ticks).toHaveLength(3 * samples);
    expect(Math.min(...ticks.subarray(samples, 2 * samples))).toBeGreaterThanOrEqual(us(50));
    expect(Math.min(...ticks.subarray(2 * samples))).toBeGreaterThanOrEqual(us(200));
  });
});
