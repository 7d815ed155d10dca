/**
 * A result that did not fit into its output: fetched from the worker that keeps it.
 *
 * A worker that keeps much begins no further functions, so a result is asked for directly when its call ends: in the slot that is
 * free then, before any call that waits, and in as many pieces as the lease's memory has room for.
 */
import { FunctionError, OutOfLeaseMemory, ProtocolError, WorkerLost } from "../../base/errors.ts";
import type { Call } from "../calls/call.ts";
import { mayHaveRun } from "../failures/fate.ts";
import type { SubmitOptions } from "../options/call-options.ts";
import type { LeaseMemory } from "../memory/lease-memory.ts";
import type { ResultWaits } from "../failures/remote-error.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What asks for a piece: the result's number, and where the piece begins; 64-bit floats. */
export const TICKET_BYTES = 16;
/** In place of an offset: tells the worker to drop the result. */
const DROP = -1;
/** The largest share of the lease's free memory that one result takes, so that others find room. */
const SHARE = 1 / 4;

export interface ResultHost {
  memory: LeaseMemory;
  fetch(input: Bytes, output: Bytes, options: SubmitOptions & { worker: number }): Call;
}

/** What the call that came to the result leaves to it. */
export interface Began {
  readonly worker: number;
  /** Of the call's time; Infinity without a deadline. */
  leftMs(): number;
  readonly signal: AbortSignal | undefined;
  /** Its buffers: the input has room for a ticket, and pieces go to the output where the lease has no other room. */
  readonly input: Bytes;
  readonly output: Bytes;
}

export class KeptResult {
  /** The last that was made for it. */
  call!: Call;
  readonly #host: ResultHost;
  readonly #began: Began;
  readonly #ticket: number;
  readonly #bytes: number;
  readonly #asking: Bytes;
  /** Of the lease's memory; undefined where the call's own output must do. */
  readonly #room: Bytes | undefined;
  /** What has come, of a result that comes in pieces. */
  readonly #whole: Bytes | undefined;
  readonly #ended = Promise.withResolvers<void>();
  #at = 0;
  #done = false;
  #error: unknown;

  /** Asks for it. Throws what submitting a call does. */
  constructor(host: ResultHost, began: Began, { ticket, bytes }: ResultWaits) {
    this.#host = host;
    this.#began = began;
    this.#ticket = ticket;
    this.#bytes = bytes;
    this.#asking = began.input.subarray(0, TICKET_BYTES);
    this.#ended.promise.catch(() => {});
    this.#room = roomFor(host.memory, bytes, began.output.length);
    if (this.#target.length < bytes) this.#whole = new Uint8Array(bytes);
    this.#ask();
  }

  /** All of it, until {@link close}. */
  async take(): Promise<Bytes> {
    await this.#ended.promise;
    return this.#whole ?? this.#target.subarray(0, this.#bytes);
  }

  /** The same, on the spot. */
  takeNow(): Bytes {
    // A piece's end asks for the next.
    while (!this.#done) outcomeOf(this.call);
    if (this.#error !== undefined) throw this.#error;
    return this.#whole ?? this.#target.subarray(0, this.#bytes);
  }

  /** Gives its memory back. */
  close(): void {
    if (this.#room !== undefined && this.#host.memory.has(this.#room))
      this.#host.memory.free(this.#room);
  }

  get #target(): Bytes {
    return this.#room ?? this.#began.output;
  }

  #ask(): void {
    const { worker, signal } = this.#began;
    this.#write(this.#at);
    const leftMs = this.#began.leftMs();
    this.call = this.#host.fetch(this.#asking, this.#target, {
      worker,
      ...(signal === undefined ? {} : { signal }),
      ...(leftMs === Infinity ? {} : { deadlineMs: Math.max(1, leftMs) }),
    });
    whenEnded(this.call, () => this.#came());
  }

  #came(): void {
    const outcome = outcomeOf(this.call);
    if (!("bytes" in outcome)) return this.#fail(this.#reasonOf(outcome.error));
    this.#whole?.set(this.#target.subarray(0, outcome.bytes), this.#at);
    this.#at += outcome.bytes;
    if (this.#at === this.#bytes) {
      this.#done = true;
      this.#ended.resolve();
    } else if (outcome.bytes === 0 || this.#at > this.#bytes)
      this.#fail(new ProtocolError("the worker's result has another length than it said"));
    else
      try {
        this.#ask();
      } catch (error) {
        this.#fail(error);
      }
  }

  /** All that the hidden function throws is that it has no such result. The call itself has run, whatever becomes of its result. */
  #reasonOf(error: unknown): unknown {
    if (!(error instanceof FunctionError)) return mayHaveRun(error);
    const { worker } = this.#began;
    return new WorkerLost(
      worker,
      `worker ${worker} was restarted because a call did not end by its deadline; the results that it kept are lost, call again`,
      { cause: error },
    );
  }

  #fail(error: unknown): void {
    this.#done = true;
    this.#error = error;
    this.#ended.reject(error);
    // A call that the worker has seen tells it so itself.
    if (this.call.abandoned !== undefined) return;
    try {
      this.#write(DROP);
      this.call = this.#host.fetch(this.#asking, this.#target.subarray(0, 0), {
        worker: this.#began.worker,
      });
    } catch {
      // The lease is over, and its workers have dropped their kept results.
    }
  }

  #write(place: number): void {
    const asking = new DataView(this.#asking.buffer, this.#asking.byteOffset, TICKET_BYTES);
    asking.setFloat64(0, this.#ticket, true);
    asking.setFloat64(8, place, true);
  }
}

/** Runs `then` in the moment in which the call ends, before anything else is done with its slot. */
export function whenEnded(call: Call, then: () => void): void {
  if (call.done) return then();
  const { cleanUp } = call;
  call.cleanUp = () => {
    cleanUp?.();
    then();
  };
}

/** What a call came to; waits for it on the spot. */
export function outcomeOf(call: Call): { bytes: number } | { error: unknown } {
  try {
    return { bytes: call.get() };
  } catch (error) {
    return { error };
  }
}

/** As much free memory as the lease has, up to a share; undefined when that is no more than `least`. */
function roomFor(memory: LeaseMemory, bytes: number, least: number): Bytes | undefined {
  let length = Math.min(bytes, Math.max(Math.floor(memory.freeBytes * SHARE), 4 * least));
  for (; length > least; length = Math.floor(length / 2))
    try {
      return memory.allocate(Uint8Array, length);
    } catch (error) {
      if (!(error instanceof OutOfLeaseMemory)) throw error;
    }
  return undefined;
}
