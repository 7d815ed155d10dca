/** How long a benchmark goes on: so many pairs of windows, or so much time. */
import { UsageError } from "../src/base/errors.ts";
import { countOf, formatDuration } from "../src/base/units.ts";
import type { Bench } from "./scenario.ts";

export type Extent = { pairs: number } | { durationMs: number };

/** Throws {@link UsageError} when both are asked for. */
export function extentOf(
  { pairs, durationMs }: { pairs?: number; durationMs?: number },
  fallback: number,
): Extent {
  if (durationMs === undefined) return { pairs: pairs ?? fallback };
  if (pairs !== undefined)
    throw new UsageError("--pairs and --duration exclude each other; leave one of them out");
  return { durationMs };
}

/** For a person, before "of 40000 calls". */
export const extentInWords = (extent: Extent, what = "pair"): string =>
  "pairs" in extent
    ? countOf(extent.pairs, what)
    : `${formatDuration(extent.durationMs)} in ${what}s`;

/** The numbers of the pairs, from 0; tells how far it is before each. At least one, and none begins when the time is over. */
export function* pairsOf(
  bench: Pick<Bench, "at">,
  extent: Extent,
  nowMs: () => number = () => performance.now(),
): Generator<number> {
  const begunMs = nowMs();
  for (let pair = 0; ; pair++) {
    const passedMs = nowMs() - begunMs;
    if ("pairs" in extent ? pair >= extent.pairs : pair > 0 && passedMs >= extent.durationMs)
      return;
    const expected =
      "pairs" in extent
        ? extent.pairs
        : Math.max(pair + 1, Math.round((pair * extent.durationMs) / passedMs) || 1);
    bench.at(pair + 1, expected);
    yield pair;
  }
}
