/** What a worker's lane and a batch, many calls in one object, need of each other. */
import type { RfaasError } from "../../base/errors.ts";
import type { Flight, Posted } from "./call.ts";

/** Many calls as a lane carries them: each is a row. None of these methods runs code of the program. */
export interface BatchFlight {
  /** From submission; 0 for none. */
  readonly deadlineMs: number;
  /** Milliseconds until the deadline of all rows; Infinity without one. */
  remainingMs(): number;
  /** Gives rows that wait to the lane, as far as it has slots; unless `eagerly`, only where it has some. */
  fill(lane: BatchLane, eagerly: boolean): void;
  /** The row's call has ended well. */
  landed(row: number, bytes: number): void;
  /** The row's call has failed there. */
  failed(row: number, error: unknown, lane: Pick<BatchLane, "index">): void;
  /** The row's call was abandoned; its worker may still be at work on it. */
  abandoned(row: number, posted: Posted, reason: unknown, lane: BatchLane): void;
  /** The deadline has passed: ends what has no answer. */
  expire(): void;
}

/** What a batch needs of the lane of a worker. */
export interface BatchLane {
  /** Among the workers of its part. */
  readonly index: number;
  /** What the program calls the worker. */
  readonly number: number;
  readonly lost: RfaasError | undefined;
  /** Calls in flight and waiting. */
  readonly load: number;
  readonly slots: number;
  /** Slots that may be free. */
  readonly free: number;
  /** From then on {@link BatchFlight.fill} is called when slots come free. */
  enlist(batch: BatchFlight): void;
  dismiss(batch: BatchFlight): void;
  /**
   * Posts calls of a table from `first` on, in order, as many as have a slot: those of the rows from `row` on. Returns how many; -1
   * when the first is refused as out of bounds.
   */
  postRows(
    batch: BatchFlight,
    table: Uint32Array<ArrayBuffer>,
    first: number,
    row: number,
    count: number,
    leftMs: number,
  ): number;
  /** Abandons the rows that are in flight there. */
  abandonRows(batch: BatchFlight, reason: unknown): void;
  /** Whether the worker may still use the buffers of an abandoned call. */
  holds(call: Pick<Flight, "abandoned">): boolean;
  errorFor(result: number, slot: number, deadlineMs: number): RfaasError;
  harvest(misses?: number): number;
  awaitHalf(limitMs: number): void;
  /** Ends what is lost or late, as far as it is known here. */
  heed(): void;
}
