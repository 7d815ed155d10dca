/**
 * Results that did not fit into the caller's output buffer. The worker tells the caller their length, and keeps them until the caller
 * has fetched them, in pieces of the size that it has room for. So no function runs twice.
 *
 * The worker keeps a result for as long as its caller waits for it. When many are kept, functions that have not begun wait until
 * callers have fetched some.
 */
import type { FunctionContext } from "../../function/context.ts";
import type { ResultKeeper } from "../../kinds/kind.ts";

/** The worker begins no further function while it keeps so many bytes. */
const MAX_BYTES = 32 * 1024 * 1024;
/** Takes the place of an offset: the caller no longer wants the result. */
export const DROP = -1;
/** What asks for a piece: the result's number, and where the piece begins; 64-bit floats. */
export const TICKET_BYTES = 16;

/** Ends a call instead of an answer. */
export class ResultKept extends Error {
  override readonly name = "ResultKept";
  readonly code = "RFAAS_RESULT_KEPT";
  readonly ticket: number;
  readonly bytes: number;
  constructor(ticket: number, bytes: number) {
    super(`the result has ${bytes} bytes, more than its output holds; fetch it with more room`);
    this.ticket = ticket;
    this.bytes = bytes;
  }
}

/** How aborts name a call. */
export interface NamedCall {
  slot: number;
  sequence: number;
}

interface Kept {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The call that waits for it: first the one that it is the result of, then those that fetch it. */
  waits: NamedCall | undefined;
}

export class KeptResults implements ResultKeeper {
  readonly #results = new Map<number, Kept>();
  #bytes = 0;
  /** Random, so that a later thread does not take a ticket of this one for its own. */
  #ticket = Math.floor(Math.random() * 2 ** 52);
  /** By slot, the last call that was abandoned. */
  readonly #abandoned = new Map<number, number>();
  /** What waits for room, in order. */
  #waiting: (() => void)[] = [];

  /** Whether work that may end with a result must wait: {@link whenRoom}. */
  get full(): boolean {
    return this.#bytes >= MAX_BYTES;
  }

  /** Whether no result is kept. */
  get empty(): boolean {
    return this.#results.size === 0;
  }

  /** Does the work when there is room for another result. Rejects when the call was aborted meanwhile. */
  whenRoom<Result>(
    ctx: FunctionContext,
    work: () => Result | PromiseLike<Result>,
  ): Promise<Result> {
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    this.#waiting.push(() => {
      if (this.#isAbandoned(callOf(ctx)))
        return reject(new Error("the caller has aborted the call"));
      try {
        resolve(work());
      } catch (error) {
        reject(error);
      }
    });
    return promise;
  }

  /** Keeps a copy, unless the caller has abandoned the call. */
  keep(result: Uint8Array, ctx: FunctionContext): ResultKept {
    const waits = callOf(ctx);
    const kept = new ResultKept(++this.#ticket, result.length);
    if (this.#isAbandoned(waits)) return kept;
    this.#results.set(kept.ticket, { bytes: copyOf(result), waits });
    this.#bytes += result.length;
    return kept;
  }

  /** The caller of this call no longer waits: neither for what it came to, nor for what it was to fetch. */
  abandon(slot: number, sequence: number): void {
    // It may not have begun.
    this.#abandoned.set(slot, sequence);
    for (const [ticket, { waits }] of this.#results)
      if (waits?.slot === slot && waits.sequence === sequence) this.#drop(ticket);
  }

  /** Nothing is kept, and the next call is of another lease, whose sequences begin anew. */
  renew(): void {
    this.#abandoned.clear();
  }

  /** The hidden function: its input is a ticket and a place in the result, its output what is there. */
  readonly fetch = (
    input: Uint8Array<ArrayBuffer>,
    output: Uint8Array<ArrayBuffer>,
    ctx: FunctionContext,
  ): number => {
    const asked = new DataView(input.buffer, input.byteOffset, input.length);
    const [ticket, at] = [asked.getFloat64(0, true), asked.getFloat64(8, true)];
    const kept = this.#results.get(ticket);
    if (at === DROP) return this.#drop(ticket);
    if (kept === undefined)
      throw Object.assign(
        new Error(
          "the result is gone with the thread that kept it, which was replaced; call again",
        ),
        { code: "RFAAS_RESULT_GONE", retryable: true },
      );
    const piece = kept.bytes.subarray(at, at + output.length);
    const { length } = piece;
    output.set(piece);
    kept.waits = callOf(ctx);
    if (at + length >= kept.bytes.length || this.#isAbandoned(kept.waits)) this.#drop(ticket);
    return length;
  };

  #drop(ticket: number): 0 {
    const kept = this.#results.get(ticket);
    if (kept !== undefined) {
      this.#bytes -= kept.bytes.length;
      // Freed at once: the engine would collect it later, and a worker's memory is bounded.
      kept.bytes.buffer.transfer(0);
      this.#results.delete(ticket);
    }
    // Not within the call that has fetched.
    if (this.#waiting.length > 0) queueMicrotask(() => this.#goOn());
    return 0;
  }

  #goOn(): void {
    while (!this.full && this.#waiting.length > 0) this.#waiting.shift()!();
  }

  #isAbandoned(call: NamedCall | undefined): boolean {
    return call !== undefined && this.#abandoned.get(call.slot) === call.sequence;
  }
}

/** Collects garbage and tries again when garbage of functions leaves no room for the copy. */
function copyOf(result: Uint8Array): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(result);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    Bun.gc(true);
    return new Uint8Array(result);
  }
}

/** A worker's context names its call. In a test without a node none can be abandoned. */
const callOf = (ctx: FunctionContext): NamedCall | undefined =>
  (ctx as FunctionContext & { call?: NamedCall }).call;
