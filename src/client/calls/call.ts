/** A call in flight: a promise that can also be waited for on the spot. */

import type { LeaseBuffer, LeaseMemory, MemoryUse } from "../memory/lease-memory.ts";
import type { CallProgress } from "../options/call-options.ts";
import type { Place } from "../memory/place.ts";

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

/** A request as the worker knows it. */
export interface Posted {
  slot: number;
  sequence: number;
}

/** One call as a lane carries it. */
export interface Flight {
  /** What is called, with which memory: offsets and lengths in bytes. */
  readonly fn: number;
  readonly inputOffset: number;
  readonly inputLength: number;
  readonly outputOffset: number;
  readonly outputCapacity: number;
  /** From submission, over all attempts; 0 for none. */
  readonly deadlineMs: number;
  /** How long it is known to take; 0 when nothing is known. */
  readonly durationMs: number;
  /** How often it was submitted before. */
  readonly attempt: number;
  readonly timings: CallTimings | undefined;
  readonly onProgress: ((progress: CallProgress) => void) | undefined;
  /** When this attempt began to wait for a slot; only for a call with timings. */
  readonly queuedSinceNs: number;
  readonly done: boolean;
  /** Slot while in flight, else -1. */
  slot: number;
  /** Once it was given up after it had been posted: what the worker may still be at work on. */
  abandoned: Posted | undefined;
  /** Undoes, once it has ended, what was done for it. */
  cleanUp: (() => void) | undefined;
  /** Milliseconds until the deadline; Infinity without one. */
  remainingMs(): number;
  /** An attempt has ended; after a failure there may be another. */
  endAttempt(bytes: number, error?: unknown): void;
  /** It has ended for good. Later endings are ignored. */
  end(bytes: number, error?: unknown): void;
}

/** What drives a call to its end: its worker's lane. */
export interface CallDriver {
  readonly index: number;
  /** Blocks this thread until the call has ended. */
  drive(call: Call): void;
  /** Keeps looking for the call's end from the event loop. */
  watch(call: Call): void;
  /** Ends the call with `reason`; nobody waits for it any more. */
  giveUp(call: Flight, reason: unknown): void;
  /** Whether the worker may still use the buffers of a call that was given up. */
  holds(call: Pick<Flight, "abandoned">): boolean;
}

/**
 * The result of {@link Lease.submit}: resolves to the number of bytes that the function wrote.
 *
 * `await call` leaves the event loop free; `call.get()` spins and returns at once when the result is there. A call that nobody
 * waits for goes on all the same.
 */
export class Call implements PromiseLike<number>, Flight, MemoryUse {
  /** Where the time of the last attempt went, once the call has ended and if it was asked for. */
  timings: CallTimings | undefined;
  /** @internal */
  readonly input: Place;
  /** @internal */
  readonly output: Place;
  /** @internal What is called, with which memory: offsets and lengths in bytes. */
  readonly fn: number;
  /** @internal */
  readonly inputOffset: number;
  /** @internal */
  readonly inputLength: number;
  /** @internal */
  readonly outputOffset: number;
  /** @internal */
  readonly outputCapacity: number;
  /** @internal From submission; 0 for none. */
  readonly deadlineMs: number;
  /** @internal */
  durationMs = 0;
  /** @internal */
  attempt = 0;
  /** @internal Starts another attempt after a failure; returns whether it did. */
  retry: ((call: Call, error: unknown) => boolean) | undefined;
  /** @internal Slot while in flight, else -1. */
  slot = -1;
  /** @internal */
  submittedNs = 0;
  /** @internal */
  queuedSinceNs = 0;
  /** @internal Whether the event loop follows it. */
  watched = false;
  /** @internal */
  cleanUp: (() => void) | undefined;
  /** @internal */
  onProgress: ((progress: CallProgress) => void) | undefined;
  /** @internal */
  abandoned: Posted | undefined;

  readonly #memory: LeaseMemory;
  readonly #target: LeaseBuffer;
  #driver: CallDriver;
  #using = false;
  #done = false;
  #bytes = 0;
  #error: unknown;
  #promise: PromiseWithResolvers<number> | undefined;

  /** @internal */
  constructor(
    driver: CallDriver,
    fn: number,
    memory: LeaseMemory,
    input: LeaseBuffer,
    output: LeaseBuffer,
    deadlineMs: number,
  ) {
    this.#driver = driver;
    this.#memory = memory;
    this.#target = output;
    this.input = memory.placeOf(input, "the input");
    this.output = memory.outputPlaceOf(output);
    this.inputOffset = this.input.offsetOf(input);
    this.inputLength = input.byteLength;
    this.outputOffset = this.output.offsetOf(output);
    this.outputCapacity = output.byteLength;
    this.fn = fn | memory.flagsOf(this, this.inputOffset);
    this.deadlineMs = deadlineMs;
    if (this.input.copy !== undefined) this.input.bring(input);
  }

  /** Which of the lease's workers has it, or had it last. */
  get worker(): number {
    return this.#driver.index;
  }

  /** Whether the call has ended, one way or another. */
  get done(): boolean {
    return this.#done;
  }

  /** Waits without giving way to the event loop, then returns the bytes written or throws what the call ended with. */
  get(): number {
    while (!this.#done) this.#driver.drive(this);
    if (this.#error !== undefined) throw this.#error;
    return this.#bytes;
  }

  /** @internal Whose call it is now. */
  get driver(): CallDriver {
    return this.#driver;
  }

  /** @internal Another worker gets it. */
  moveTo(driver: CallDriver): void {
    this.#driver = driver;
  }

  /** @internal */
  remainingMs(): number {
    return this.deadlineMs === 0
      ? Infinity
      : this.deadlineMs - (Bun.nanoseconds() - this.submittedNs) / 1e6;
  }

  // A promise is made only when somebody asks for one.
  then<A = number, B = never>(
    onFulfilled?: ((bytes: number) => A | PromiseLike<A>) | null,
    onRejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#asPromise().then(onFulfilled, onRejected);
  }

  catch<B = never>(
    onRejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<number | B> {
    return this.#asPromise().catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<number> {
    return this.#asPromise().finally(onFinally);
  }

  #asPromise(): Promise<number> {
    if (this.#promise) return this.#promise.promise;
    if (this.#done)
      return this.#error === undefined ? Promise.resolve(this.#bytes) : Promise.reject(this.#error);
    this.#promise = Promise.withResolvers();
    this.#driver.watch(this);
    return this.#promise.promise;
  }

  /** @internal */
  endAttempt(bytes: number, error?: unknown): void {
    if (error === undefined || !this.retry?.(this, error)) this.end(bytes, error);
  }

  /** @internal */
  end(bytes: number, error?: unknown): void {
    if (this.#done) return;
    this.#done = true;
    this.#bytes = bytes;
    this.#error = error;
    if (error === undefined && this.output.copy !== undefined) this.#fetch(bytes);
    this.leave();
    this.cleanUp?.();
    if (this.#error === undefined) this.#promise?.resolve(bytes);
    else this.#promise?.reject(this.#error);
  }

  /** @internal From now on its memory is not given to others. */
  enter(): void {
    this.#using = true;
    this.#memory.begin(this);
  }

  /** @internal It has ended, or was not made after all. */
  leave(): void {
    if (!this.#using) return;
    this.#using = false;
    this.#memory.end(this, this.abandoned && (() => this.#driver.holds(this)));
  }

  /** The caller's own memory gets the result, if it is still there. */
  #fetch(bytes: number): void {
    try {
      this.output.fetch(this.#target, bytes);
    } catch (error) {
      this.#error = error;
    }
  }
}
