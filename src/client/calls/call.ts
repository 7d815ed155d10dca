/** A call in flight: a promise that its caller can also block on. */
import { TIMED, attemptBits } from "../../../ffi/layout.ts";
import { mayHaveRun, saysNotRun } from "../failures/fate.ts";
import type { LeaseBuffer, LeaseMemory, MemoryUse } from "../memory/lease-memory.ts";
import type { CallProgress } from "../options/call-options.ts";
import type { Place } from "../memory/place.ts";
import type { LocatedPair } from "../memory/recent-pairs.ts";
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

/** What few calls have: those with options, and those that are awaited, fail or are abandoned. The others are short without it. */
class Details {
  timings: CallTimings | undefined;
  durationMs = 0;
  attempt = 0;
  /** Starts another attempt after a failure; returns whether it did. */
  retry: ((call: Call, error: unknown) => boolean) | undefined;
  /** Whether an attempt that has failed may have run. */
  mayHaveRun = false;
  submittedNs = 0;
  queuedSinceNs = 0;
  /** Whether the event loop follows it. */
  watched = false;
  cleanUp: (() => void) | undefined;
  onProgress: ((progress: CallProgress) => void) | undefined;
  abandoned: Posted | undefined;
  error: unknown;
  promise: PromiseWithResolvers<number> | undefined;
}

/** Of all calls that have none of their own: never written. */
const NO_DETAILS: Readonly<Details> = Object.freeze(new Details());

/** A call in flight: the program's view of it, {@link PublicCall}, and the state that a lane needs. */
export class Call implements PublicCall, Flight, MemoryUse {
  readonly fn: number;
  readonly deadlineMs: number;
  slot = -1;

  readonly #memory: LeaseMemory;
  readonly #pair: LocatedPair;
  #driver: CallDriver;
  #details = NO_DETAILS;
  #using = false;
  #done = false;
  #bytes = 0;

  constructor(
    driver: CallDriver,
    fn: number,
    memory: LeaseMemory,
    input: LeaseBuffer,
    output: LeaseBuffer,
    deadlineMs: number,
  ) {
    const pair = memory.locate(input, output);
    this.#driver = driver;
    this.#memory = memory;
    this.#pair = pair;
    this.fn = fn | pair.flags;
    this.deadlineMs = deadlineMs;
    if (pair.input.copy !== undefined) pair.input.bring(input);
  }

  get input(): Place {
    return this.#pair.input;
  }

  get output(): Place {
    return this.#pair.output;
  }

  get inputOffset(): number {
    return this.#pair.inputOffset;
  }

  get inputLength(): number {
    return this.#pair.inputLength;
  }

  get outputOffset(): number {
    return this.#pair.outputOffset;
  }

  get outputCapacity(): number {
    return this.#pair.outputCapacity;
  }

  get timings(): CallTimings | undefined {
    return this.#details.timings;
  }

  get durationMs(): number {
    return this.#details.durationMs;
  }

  get attempt(): number {
    return this.#details.attempt;
  }

  get queuedSinceNs(): number {
    return this.#details.queuedSinceNs;
  }

  get onProgress(): ((progress: CallProgress) => void) | undefined {
    return this.#details.onProgress;
  }

  get abandoned(): Posted | undefined {
    return this.#details.abandoned;
  }

  set abandoned(posted: Posted | undefined) {
    this.details.abandoned = posted;
  }

  get cleanUp(): (() => void) | undefined {
    return this.#details.cleanUp;
  }

  set cleanUp(cleanUp: (() => void) | undefined) {
    this.details.cleanUp = cleanUp;
  }

  /** Its own, to write. */
  get details(): Details {
    if (this.#details === NO_DETAILS) this.#details = new Details();
    return this.#details;
  }

  get worker(): number {
    return this.#driver.number;
  }

  get done(): boolean {
    return this.#done;
  }

  get(): number {
    while (!this.#done) this.#driver.drive(this);
    const { error } = this.#details;
    if (error !== undefined) throw error;
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
      : this.deadlineMs - (Bun.nanoseconds() - this.#details.submittedNs) / 1e6;
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
    const { promise, error } = this.#details;
    if (promise) return promise.promise;
    if (this.#done)
      return error === undefined ? Promise.resolve(this.#bytes) : Promise.reject(error);
    const made = (this.details.promise = Promise.withResolvers());
    this.#driver.watch(this);
    return made.promise;
  }

  endAttempt(bytes: number, error?: unknown): void {
    const { retry, mayHaveRun: before } = this.#details;
    if (error === undefined || retry === undefined) return this.end(bytes, error);
    this.details.mayHaveRun ||= !saysNotRun(error);
    if (!retry(this, error)) this.end(bytes, before ? mayHaveRun(error) : error);
  }

  end(bytes: number, error?: unknown): void {
    if (this.#done) return;
    this.#done = true;
    this.#bytes = bytes;
    if (error !== undefined) this.details.error = error;
    else if (this.output.copy !== undefined) this.#fetch(bytes);
    this.leave();
    if (this.#details !== NO_DETAILS) this.#tell(bytes);
  }

  #tell(bytes: number): void {
    this.#details.cleanUp?.();
    const { error, promise } = this.#details;
    if (error === undefined) promise?.resolve(bytes);
    else promise?.reject(error);
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
      this.output.fetch(this.#pair.outputView, bytes);
    } catch (error) {
      this.details.error = error;
    }
  }
}
