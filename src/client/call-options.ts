/** What a caller can ask of a call. */
import { DeadlineExceeded, UsageError } from "../errors.ts";

export interface InvokeOptions {
  /** Milliseconds after which the call ends with {@link DeadlineExceeded}. */
  deadlineMs?: number;
  /**
   * How long the call is known to take, if it is. One that cannot end before its deadline, or before the lease does, is refused at
   * once. Where it is not said, a deadline stands for it on a lease that is being revoked; without either nothing can be known.
   */
  durationMs?: number;
  /** Which worker to use; default: the least loaded. */
  worker?: number;
}

export interface SubmitOptions extends InvokeOptions {
  /** Stops the waiting, not the function: a call that has begun runs to its end. */
  signal?: AbortSignal;
  /** Fill in {@link Call.timings}. */
  timings?: boolean;
  /**
   * How often the call may be submitted again, on another worker where there is one: when its function failed with
   * `retryable: true`, or when its worker was lost. A lost worker may have run the function, so only for one that may run twice.
   * A deadline covers all attempts. Default 0.
   */
  retries?: number;
  /** Hears what the function reports with `ctx.progress`, while the event loop turns. */
  onProgress?: (progress: CallProgress) => void;
}

/** How far a call has come, as its function says. */
export interface CallProgress {
  /** From 0 to 1. */
  fraction: number;
  message: string | undefined;
  worker: number;
  /** Reports before this one that came too fast to be sent. */
  dropped: number;
}

/** Told apart by identity: a call without options takes the short way. */
export const NO_OPTIONS: SubmitOptions = Object.freeze({});

/** Timers reach no further: 24 days. */
const MAX_DEADLINE_MS = 2 ** 31 - 1;

export const MAX_RETRIES = 1000;

/** Throws {@link UsageError} when it is no number of retries. */
export function wholeRetries(retries: number | undefined): number {
  if (retries === undefined) return 0;
  if (!Number.isInteger(retries) || retries < 0 || retries > MAX_RETRIES)
    throw new UsageError(
      `retries must be a whole number from 0 to ${MAX_RETRIES}; it is ${retries}`,
    );
  return retries;
}

/** Milliseconds, 0 when nothing is known. Throws {@link UsageError} when it is no duration. */
export function knownDuration(durationMs: number | undefined): number {
  if (durationMs === undefined) return 0;
  if (!(durationMs >= 0) || durationMs > MAX_DEADLINE_MS)
    throw new UsageError(`durationMs must be a number of milliseconds; it is ${durationMs}`);
  return durationMs;
}

/** Whole milliseconds, 0 for none. Throws {@link UsageError} when it is no deadline. */
export function wholeDeadline(deadlineMs: number | undefined): number {
  if (deadlineMs === undefined) return 0;
  if (!(deadlineMs > 0) || deadlineMs > MAX_DEADLINE_MS)
    throw new UsageError(
      `deadlineMs must be a positive number of milliseconds; it is ${deadlineMs}`,
    );
  return Math.ceil(deadlineMs);
}

/** The deadline of a call that begins now, in whole milliseconds, 0 for none. Throws {@link DeadlineExceeded} when it takes longer. */
export function deadlineOf({ deadlineMs, durationMs }: InvokeOptions): number {
  const whole = wholeDeadline(deadlineMs);
  if (durationMs !== undefined && whole > 0 && knownDuration(durationMs) > whole)
    throw tooLong(durationMs, whole, whole);
  return whole;
}

/** Why a call that takes `durationMs` is not made when only `leftMs` are left of its deadline. */
export const tooLong = (durationMs: number, leftMs: number, deadlineMs: number): DeadlineExceeded =>
  new DeadlineExceeded(
    deadlineMs,
    `the call takes ${durationMs} ms, and ${Math.floor(leftMs)} ms are left until its deadline; raise deadlineMs`,
  );
