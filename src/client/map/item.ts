/** An input of a map, from when it is taken until its result is yielded. */
import type { LeaseCore } from "../calls/submission.ts";
import type { WorkerLane } from "../calls/worker-lane.ts";
import type { Settled } from "./options.ts";

export interface MapItem<Value, Result> {
  readonly index: number;
  readonly value: Value;
  /** Attempts that have failed. */
  attempt: number;
  /** One of them may have run. */
  ran: boolean;
  /** The worker of the attempt that failed last. */
  failedOn: WorkerLane | undefined;
  /** Where its buffers lie, once it is known that this matters. */
  home: LeaseCore | undefined;
  /** Of the first attempt; only with a deadline. */
  startedNs: number;
  done: boolean;
  failed: boolean;
  /** The map cannot go on after it. */
  fatal: boolean;
  result: Result | undefined;
  error: unknown;
}

export const newItem = <Value, Result>(index: number, value: Value): MapItem<Value, Result> => ({
  index,
  value,
  attempt: 0,
  ran: false,
  failedOn: undefined,
  home: undefined,
  startedNs: 0,
  done: false,
  failed: false,
  fatal: false,
  result: undefined,
  error: undefined,
});

/** The outcome of an item that is done. */
export function settled<Value, Result>(item: MapItem<Value, Result>): Settled<Result> {
  const { index } = item;
  // It is done, and has not failed.
  return item.failed
    ? { status: "rejected", index, reason: item.error }
    : { status: "fulfilled", index, value: item.result as Result };
}
