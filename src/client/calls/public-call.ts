/** A call as the program that made it sees it. */

/** Where the nanoseconds of a call went. Only for calls submitted with `{ timings: true }`. */
export interface CallTimings {
  /** In the client, before a slot was free. */
  queuedNs: number;
  /** Writing header and inline payload into the slot. */
  movedNs: number;
  /** Until the worker's poll saw it (or the worker was woken). */
  foundNs: number;
  /** In the function. */
  ranNs: number;
  /** Until the client saw the result. */
  returnedNs: number;
}

/**
 * The result of {@link Lease.submit}: resolves to the number of bytes that the function wrote.
 *
 * `await call` leaves the event loop free; `call.get()` spins and returns at once when the result is there. A call runs even if
 * the program never awaits it.
 *
 * @example
 * ```ts
 * const call = lease.submit("price", input, output);
 * prepareTheNext();
 * const bytes = call.get();
 * ```
 */
export interface PublicCall extends PromiseLike<number> {
  /** Where the time of the last attempt went, once the call has ended and if it was asked for. */
  readonly timings: CallTimings | undefined;
  /** Which of the lease's workers has it, or had it last. */
  readonly worker: number;
  /** How often it was submitted before, with `retries`. */
  readonly attempt: number;
  /** Whether the call has ended, one way or another. */
  readonly done: boolean;
  /** Waits without giving way to the event loop, then returns the bytes written or throws what the call ended with. */
  get(): number;
  catch<B = never>(
    onRejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<number | B>;
  finally(onFinally?: (() => void) | null): Promise<number>;
  then<A = number, B = never>(
    onFulfilled?: ((bytes: number) => A | PromiseLike<A>) | null,
    onRejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B>;
}
