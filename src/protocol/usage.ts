/** What a lease has cost, as counters that only grow. */
import { type Static, Type } from "@sinclair/typebox";

const sum = Type.Number({ minimum: 0, maximum: 1e21 });

/** Counters of one lease: a later report replaces an earlier one and never lowers it. */
export const Usage = Type.Object({
  /** Cores held, times how long. */
  allocationCoreNs: sum,
  /** CPU time that was not polling. */
  executionNs: sum,
  /** CPU time of workers that looked for a next call. */
  pollingNs: sum,
  calls: sum,
  /** Of payload, in both directions. */
  bytes: sum,
});
export type Usage = Static<typeof Usage>;

/** Of a lease that has just begun. */
export const NOTHING_USED: Usage = {
  allocationCoreNs: 0,
  executionNs: 0,
  pollingNs: 0,
  calls: 0,
  bytes: 0,
};

/** The counters, in the order in which they lie in a row of remote counters. */
export const USAGE_COUNTERS = [
  "allocationCoreNs",
  "executionNs",
  "pollingNs",
  "calls",
  "bytes",
] as const satisfies readonly (keyof Usage)[];

/** No call takes less. */
const CALL_NS = 10;
/** An input and an output, each as long as memory of a lease can be. */
const CALL_BYTES = 2 * 2 ** 32;

/**
 * Calls and bytes as far as workers can have them that were there for so many nanoseconds together. A host writes these counts where its
 * functions can, too: one that is beyond belief is lowered to the most there can be, so that it costs its lease no bill.
 */
export function possibleCounts(
  { calls, bytes }: Pick<Usage, "calls" | "bytes">,
  workerNs: number,
): Pick<Usage, "calls" | "bytes"> {
  const possibleCalls = Math.min(calls, Math.floor(workerNs / CALL_NS));
  return { calls: possibleCalls, bytes: Math.min(bytes, possibleCalls * CALL_BYTES) };
}

/** Why a lease ended whose node has died, or was lost, as its bill says. */
export const NODE_LOST = "node-lost";
