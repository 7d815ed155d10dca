/** Bounds what a call awaits before it is made by the call's own deadline and signal. */
import { DeadlineExceeded } from "../../base/errors.ts";
import { wholeDeadline } from "./deadline.ts";
import type { SubmitOptions } from "../options/call-options.ts";
import { untilAborted, within } from "../../base/waiting.ts";

/**
 * Waits for `work`. Resolves to the options of the call that is left, with what is left of its deadline.
 *
 * @throws {DeadlineExceeded}
 * @throws the signal's reason, when it is aborted
 */
export async function withinCall(
  work: PromiseLike<unknown>,
  options: SubmitOptions | undefined,
): Promise<SubmitOptions | undefined> {
  const deadlineMs = wholeDeadline(options?.deadlineMs);
  const beganMs = performance.now();
  const late = () => new DeadlineExceeded(deadlineMs);
  const done = Promise.resolve(work);
  await untilAborted(deadlineMs > 0 ? within(done, deadlineMs, late) : done, options?.signal);
  if (deadlineMs === 0) return options;
  const leftMs = deadlineMs - (performance.now() - beganMs);
  if (leftMs <= 0) throw new DeadlineExceeded(deadlineMs);
  return { ...options, deadlineMs: leftMs };
}
