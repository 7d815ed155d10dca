/** What a caller can ask of a call. */
import { UsageError } from "../errors.ts";

export interface InvokeOptions {
  /** Milliseconds after which the call ends with {@link DeadlineExceeded}. */
  deadlineMs?: number;
  /** Which worker to use; default: the least loaded. */
  worker?: number;
}

export interface SubmitOptions extends InvokeOptions {
  /** Stops the waiting, not the function: a call that has begun runs to its end. */
  signal?: AbortSignal;
  /** Fill in {@link Call.timings}. */
  timings?: boolean;
}

/** Told apart by identity: a call without options takes the short way. */
export const NO_OPTIONS: SubmitOptions = Object.freeze({});

/** Timers reach no further: 24 days. */
const MAX_DEADLINE_MS = 2 ** 31 - 1;

/** Whole milliseconds, 0 for none. Throws {@link UsageError} when it is no deadline. */
export function wholeDeadline(deadlineMs: number | undefined): number {
  if (deadlineMs === undefined) return 0;
  if (!(deadlineMs > 0) || deadlineMs > MAX_DEADLINE_MS)
    throw new UsageError(
      `deadlineMs must be a positive number of milliseconds; it is ${deadlineMs}`,
    );
  return Math.ceil(deadlineMs);
}
