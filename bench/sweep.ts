/**
 * A sweep over phases. A side that waits polls, and a store that comes just after a poll is seen one step later than one that comes
 * just before it; so a round trip has steps, and what lies between poll and store decides on which one it ends. Both rfaas and the
 * floor therefore go through the same delays before each store, and are compared at the same delay.
 */
import { delayCost, delayer } from "../ffi/floor.ts";
import type { Floor } from "../src/fabric/floor.ts";
import { tickCounter, ticksPerNs } from "../ffi/system.ts";
import { type Compared, type Summary, compare, median, summarize } from "./statistics.ts";

/** A delay on each side: what is asked of its wait, and what the wait takes by its own clock, in ticks. */
interface Wait {
  asked: Uint32Array<ArrayBuffer>;
  took: readonly number[];
}

export interface Delays {
  readonly ns: readonly number[];
  /** Through FFI, whose way there and back is part of the delay. */
  readonly calls: Wait;
  readonly floor: Wait;
}

/** No delay at all: a sweep of one window. */
export const NO_DELAYS: Delays = {
  ns: [0],
  calls: { asked: Uint32Array.of(0), took: [0] },
  floor: { asked: Uint32Array.of(0), took: [0] },
};

/** Measures what delays of so many nanoseconds take on this machine. */
export function delaysOf(ns: readonly number[]): Delays {
  if (ns.length === 0) return NO_DELAYS;
  const rate = ticksPerNs();
  const cost = (ask: (ticks: number) => number) => (ticks: number) =>
    ticks === 0 ? 0 : ask(ticks);
  const wayTicks = Math.max(0, delayThroughFfi(0) - delayCost(0));
  const floor = ns.map((delay) => Math.round(delay * rate));
  // A wait of no tick is none: the least of a delay is one.
  const calls = floor.map((ticks) => ticks && Math.max(1, Math.round(ticks - wayTicks)));
  return {
    ns,
    calls: { asked: Uint32Array.from(calls), took: calls.map(cost(delayThroughFfi)) },
    floor: { asked: Uint32Array.from(floor), took: floor.map(cost(delayCost)) },
  };
}

const COST_WARMUP = 20_000;
const COST_RUNS = 257;

/** As {@link delayCost}, seen from JavaScript. */
function delayThroughFfi(ticks: number): number {
  const delay = delayer();
  const tick = tickCounter();
  const took: number[] = [];
  for (let i = 0; i < COST_WARMUP + COST_RUNS; i++) {
    const before = tick();
    delay(i < COST_WARMUP ? 0 : ticks);
    const after = tick();
    const end = tick();
    if (i >= COST_WARMUP) took.push(((after - before) >>> 0) - ((end - after) >>> 0));
  }
  return median(took);
}

/** One side of a pair: what each delay gave, the delay taken off. */
export interface Swept {
  at: readonly Summary[];
  /** Median over the delays of median and 99th percentile; the rest is of all calls together. */
  all: Summary;
}

/** Summary of a side's samples in ticks, as many of each delay, one delay after the other. Sorts them in place. */
export function sweptSummary(samples: Uint32Array, took: readonly number[], scale: number): Swept {
  const count = samples.length / took.length;
  const at = took.map((ticks, i) => {
    const window = samples.subarray(i * count, (i + 1) * count);
    for (let j = 0; j < count; j++) window[j] = Math.max(0, window[j]! - ticks);
    return summarize(window, scale);
  });
  const p50 = median(at.map((summary) => summary.p50));
  const p99 = median(at.map((summary) => summary.p99));
  return { at, all: { ...summarize(samples, scale), p50, p99 } };
}

/** The medians over the delays of what each one says. */
export function compareAtEqualDelay(calls: Swept, floor: Swept): Compared {
  const compared = calls.at.map((summary, i) => compare(summary, floor.at[i]!));
  const over = (key: keyof Compared) => median(compared.map((each) => each[key]));
  return {
    overhead_p50: over("overhead_p50"),
    ratio_p50: over("ratio_p50"),
    ratio_p99: over("ratio_p99"),
  };
}

/** What a row says of its sweep: medians over the pairs, by delay. */
export interface SweepFields {
  delays_ns: readonly number[];
  p50_ns: number[];
  baseline_p50_ns: number[];
}

export function sweepFields(
  ns: readonly number[],
  calls: readonly Swept[],
  floors: readonly Swept[],
): SweepFields {
  const p50 = (pairs: readonly Swept[]) =>
    ns.map((_, i) => median(pairs.map(({ at }) => at[i]!.p50)));
  return { delays_ns: ns, p50_ns: p50(calls), baseline_p50_ns: p50(floors) };
}

/** How far apart client and worker are: cores that share a cache or a part of one, and others. */
export type Level = "near" | "far";

const NEAR_NS = 200;
/** Copies of more say nothing of how far a line has to go. */
const LEVEL_BYTES = 4096;

export const levelOf = (floorP50Ns: number): Level => (floorP50Ns < NEAR_NS ? "near" : "far");

/** Whether the round trip of the floor, which spins, tells the level: not where there are none, nor where many bytes move. */
export const tellsLevel = (floor: Floor, movedBytes: number): boolean =>
  floor.delaysNs.length > 0 && movedBytes <= LEVEL_BYTES;

/** What the pairs of one level say, where a run has met both: the system may move a thread, or a mapping lie elsewhere. */
export interface LevelFields {
  pairs: number;
  p50_ns: number;
  baseline_p50_ns: number;
  overhead_p50_ns: number;
  ratio_p50: number;
}

/** The pairs by level, those alone that there are. */
export function levelFields(
  calls: readonly Summary[],
  floors: readonly Summary[],
  compared: readonly Compared[],
): Partial<Record<Level, LevelFields>> {
  const fieldsOf = (level: Level): [Level, LevelFields][] => {
    const of = calls.flatMap((_, i) => (levelOf(floors[i]!.p50) === level ? [i] : []));
    if (of.length === 0) return [];
    const over = (value: (pair: number) => number) => median(of.map(value));
    return [
      [
        level,
        {
          pairs: of.length,
          p50_ns: over((i) => calls[i]!.p50),
          baseline_p50_ns: over((i) => floors[i]!.p50),
          overhead_p50_ns: over((i) => compared[i]!.overhead_p50),
          ratio_p50: over((i) => compared[i]!.ratio_p50),
        },
      ],
    ];
  };
  return Object.fromEntries([...fieldsOf("near"), ...fieldsOf("far")]);
}
