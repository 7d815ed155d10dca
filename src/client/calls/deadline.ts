/** Options of calls as calls use them, once they have been checked. */
import { DeadlineExceeded, type RfaasError } from "../../base/errors.ts";
import {
  type InvokeOptions,
  type SubmitOptions,
  checkInvokeOptions,
} from "../options/call-options.ts";
import type { Flight } from "./call.ts";

/** Told apart by identity: a call without options takes the short way. */
export const NO_OPTIONS: SubmitOptions = Object.freeze({});

/** Whole milliseconds, 0 for none. */
export const wholeDeadline = (deadlineMs: number | undefined): number =>
  deadlineMs === undefined ? 0 : Math.ceil(deadlineMs);

/** The deadline of a call that begins now, in whole milliseconds, 0 for none. Throws {@link DeadlineExceeded} when it takes longer. */
export function deadlineOf(options: InvokeOptions): number {
  checkInvokeOptions(options);
  const { deadlineMs, durationMs } = options;
  const whole = wholeDeadline(deadlineMs);
  if (durationMs !== undefined && whole > 0 && durationMs > whole)
    throw tooLong(durationMs, whole, whole);
  return whole;
}

/** Why a call that takes `durationMs` is not made when only `leftMs` are left of its deadline. */
export const tooLong = (durationMs: number, leftMs: number, deadlineMs: number): DeadlineExceeded =>
  new DeadlineExceeded(
    deadlineMs,
    `the call takes ${durationMs} ms, and ${Math.floor(leftMs)} ms are left until its deadline; raise deadlineMs`,
  );

/** Milliseconds of its deadline that a call has left; Infinity without one. */
export const leftOf = (call: Flight): number =>
  call.deadlineMs === 0 ? Infinity : call.remainingMs();

/** Why a call cannot make its deadline any more. */
export function lateness(
  { deadlineMs, durationMs }: Flight,
  leftMs: number,
): RfaasError | undefined {
  if (leftMs <= 0) return new DeadlineExceeded(deadlineMs);
  return leftMs < durationMs ? tooLong(durationMs, leftMs, deadlineMs) : undefined;
}

/** A deadline covers all attempts. */
export function withinDeadline(
  options: SubmitOptions | undefined,
  passedMs: number,
): SubmitOptions | undefined {
  if (options?.deadlineMs === undefined) return options;
  const leftMs = options.deadlineMs - passedMs;
  if (leftMs <= 0) throw new DeadlineExceeded(options.deadlineMs);
  return { ...options, deadlineMs: leftMs };
}
