/** A call in flight: a promise that its caller can also block on. */
import { TIMED, attemptBits } from "../../../ffi/layout.ts";
import type { LeaseBuffer, LeaseMemory, MemoryUse } from "../memory/lease-memory.ts";
import type { CallProgress } from "../options/call-options.ts";
import type { Place } from "../memory/place.ts";
import type { CallTimings, PublicCall } from "./public-call.ts";

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
  /** Set when a posted call was abandoned: the request that the worker may still be running. */
  abandoned: Posted | undefined;
  /** Runs when the call has ended, and releases what it used. */
  cleanUp: (() => void) | undefined;
  /** Milliseconds until the deadline; Infinity without one. */
  remainingMs(): number;
  /** An attempt has ended; after a failure there may be another. */
  endAttempt(bytes: number, error?: unknown): void;
  /** The call has ended, with no further attempt. Ignores later endings. */
  end(bytes: number, error?: unknown): void;
}

/** What a request says in its first word. */
export const requestWord = ({ fn, attempt, timings }: Flight): number =>
  fn | attemptBits(attempt) | (timings === undefined ? 0 : TIMED);

/** Drives a call to its end: the lane of its worker. */
export interface CallDriver {
  /** What the program calls the worker. */
  readonly number: number;
  /** Blocks this thread until the call has ended. */
  drive(call: Call): void;
  /** Keeps looking for the call's end from the event loop. */
  watch(call: Call): void;
  /** Abandons the call: ends it with `reason`. */
  abandon(call: Flight, reason: unknown): void;
  /** Whether the worker may still use the buffers of an abandoned call. */
  holds(call: Pick<Flight, "abandoned">): boolean;
}

/** A call in flight: the program's view of it, {@link PublicCall}, and the state that a lane needs. */
export class Call implements PublicCall, Flight, MemoryUse {
  timings: CallTimings | undefined;
  readonly input: Place;
  readonly output: Place;
  /** What is called, with which memory: offsets and lengths in bytes. */
  readonly fn: number;
  readonly inputOffset: number;
  readonly inputLength: number;
  readonly outputOffset: number;
  readonly outputCapacity: number;
  /** From submission; 0 for none. */
  readonly deadlineMs: number;
  durationMs = 0;
  attempt = 0;
  /** Starts another attempt after a failure; returns whether it did. */
  retry: ((call: Call, error: unknown) => boolean) | undefined;
  /** Slot while in flight, else -1. */
  slot = -1;
  submittedNs = 0;
  queuedSinceNs = 0;
  /** Whether the event loop follows it. */
  watched = false;
  cleanUp: (() => void) | undefined;
  onProgress: ((progress: CallProgress) => void) | undefined;
  abandoned: Posted | undefined;

  readonly #memory: LeaseMemory;
  readonly #target: LeaseBuffer;
  #driver: CallDriver;
  #using = false;
  #done = false;
  #bytes = 0;
  #error: unknown;
  #promise: PromiseWithResolvers<number> | undefined;

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
    const pair = memory.locate(input, output);
    this.input = pair.input;
    this.output = pair.output;
    this.inputOffset = pair.inputOffset;
    this.inputLength = pair.inputLength;
    this.outputOffset = pair.outputOffset;
    this.outputCapacity = pair.outputCapacity;
    this.fn = fn | pair.flags;
    this.deadlineMs = deadlineMs;
    if (this.input.copy !== undefined) this.input.bring(input);
  }

  get worker(): number {
    return this.#driver.number;
  }

  get done(): boolean {
    return this.#done;
  }

  get(): number {
    while (!this.#done) this.#driver.drive(this);
    if (this.#error !== undefined) throw this.#error;
    return this.#bytes;
  }

  /** The lane that drives the call. */
  get driver(): CallDriver {
    return this.#driver;
  }

  /** Hands the call to another worker's lane. */
  moveTo(driver: CallDriver): void {
    this.#driver = driver;
  }

  remainingMs(): number {
    return this.deadlineMs === 0
      ? Infinity
      : this.deadlineMs - (Bun.nanoseconds() - this.submittedNs) / 1e6;
  }

  // The promise is made only when the program first awaits the call.
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

  endAttempt(bytes: number, error?: unknown): void {
    if (error === undefined || !this.retry?.(this, error)) this.end(bytes, error);
  }

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

  /** Marks the call's memory as in use. */
  enter(): void {
    this.#using = true;
    this.#memory.begin(this);
  }

  /** Ends the use of its memory: the call has ended, or was not made. */
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
