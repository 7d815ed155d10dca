/** What a call waits for before it is made: bounded by the call's own deadline and signal. */
import { DeadlineExceeded } from "../errors.ts";
import { type SubmitOptions, wholeDeadline } from "./call-options.ts";

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
  const { signal } = options ?? {};
  const beganMs = performance.now();
  const ended = Promise.withResolvers<never>();
  const abort = (): void => ended.reject(signal!.reason);
  const timer =
    deadlineMs > 0
      ? setTimeout(() => ended.reject(new DeadlineExceeded(deadlineMs)), deadlineMs)
      : undefined;
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted) abort();
  try {
    await Promise.race([work, ended.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
  if (deadlineMs === 0) return options;
  const leftMs = deadlineMs - (performance.now() - beganMs);
  if (leftMs <= 0) throw new DeadlineExceeded(deadlineMs);
  return { ...options, deadlineMs: leftMs };
}
