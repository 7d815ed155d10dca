/** Many calls as the program that made them sees them. */

/** A call of a batch that failed. */
export interface CallFailure {
  /** Which of the inputs it had, from 0. */
  readonly index: number;
  readonly error: unknown;
}

/**
 * The result of {@link Lease.submitMany}: resolves to how many bytes the function wrote for each input.
 *
 * `await batch` leaves the event loop free; `batch.get()` waits on the spot. All calls have ended by then, those that failed too:
 * none uses its buffers any more, but for one that was ended by its deadline or by a signal while its function ran. The calls run
 * even if the program never awaits the batch.
 *
 * @example
 * ```ts
 * const batch = lease.submitMany("price", inputs, outputs, { settled: true });
 * const bytes = await batch;
 * for (const { index, error } of batch.failures) console.warn(index, error);
 * ```
 */
export interface CallBatch extends PromiseLike<Int32Array<ArrayBuffer>> {
  /** How many calls it has. */
  readonly size: number;
  /** How many of them have ended, one way or another. */
  readonly ended: number;
  /** Whether all have. */
  readonly done: boolean;
  /** The calls that have failed so far, in the order of their inputs. */
  readonly failures: readonly CallFailure[];
  /**
   * Waits without giving way to the event loop until all calls have ended. Returns the bytes that each has written, -1 for one that
   * failed. Unless the batch was submitted with `settled`, throws the failure of the first of the inputs that has one.
   */
  get(): Int32Array<ArrayBuffer>;
  catch<B = never>(
    onRejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<Int32Array<ArrayBuffer> | B>;
  finally(onFinally?: (() => void) | null): Promise<Int32Array<ArrayBuffer>>;
}
