/** Pairs of buffers for calls of one function: used again, and kept from reuse while a call that was given up may still write. */
import type { Call } from "./call.ts";
import type { LeaseMemory } from "./lease-memory.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export interface CallBuffers {
  input: Bytes;
  /** The part of `input` that was sent last: most values of a function have the same length. */
  sent: Bytes;
  output: Bytes;
}

/** Pairs that wait to be used again; more are freed. */
const MAX_IDLE = 64;

export class CallBufferPool {
  readonly #memory: LeaseMemory;
  readonly #holds: (call: Call) => boolean;
  #idle: CallBuffers[] = [];
  #held: { buffers: CallBuffers; call: Call; reuse: boolean }[] = [];
  #inputBytes: number;
  #outputBytes: number;
  #closed = false;

  constructor(
    memory: LeaseMemory,
    holds: (call: Call) => boolean,
    inputBytes: number,
    outputBytes: number,
  ) {
    this.#memory = memory;
    this.#holds = holds;
    this.#inputBytes = inputBytes;
    this.#outputBytes = outputBytes;
  }

  /** Throws `OutOfLeaseMemory`, or `LeaseLost` after the release. */
  take(): CallBuffers {
    const idle = this.#idle.pop();
    if (idle !== undefined && !idle.input.buffer.detached) return idle;
    this.#idle = this.#idle.filter(({ input }) => !input.buffer.detached);
    this.#reclaim();
    return this.#idle.pop() ?? this.allocate(this.#inputBytes, this.#outputBytes);
  }

  /** The buffers of a call that has ended. */
  giveBack(buffers: CallBuffers, call?: Call): void {
    if (call?.abandoned !== undefined && this.#holds(call))
      this.#held.push({ buffers, call, reuse: true });
    else if (this.#closed || this.#idle.length >= MAX_IDLE) this.#free(buffers);
    else this.#idle.push(buffers);
  }

  /** Buffers of a length of their own, for one call. Throws `OutOfLeaseMemory`. */
  allocate(inputBytes: number, outputBytes: number): CallBuffers {
    const input = this.#memory.allocate(Uint8Array, inputBytes);
    try {
      return { input, sent: input, output: this.#memory.allocate(Uint8Array, outputBytes) };
    } catch (error) {
      this.#memory.free(input);
      throw error;
    }
  }

  /** Frees buffers that are of no further use, as soon as the worker is done with them. */
  discard(buffers: CallBuffers, call?: Call): void {
    if (call?.abandoned !== undefined && this.#holds(call))
      this.#held.push({ buffers, call, reuse: false });
    else this.#free(buffers);
  }

  /** From now on there is room for such outputs, if the lease has it: whoever has one long result has others. */
  expectOutput(bytes: number): void {
    if (bytes <= this.#outputBytes) return;
    this.#outputBytes = bytes;
    for (const buffers of this.#idle.splice(0)) this.#free(buffers);
  }

  /** Makes room for an input of so many bytes. */
  growInput(buffers: CallBuffers, bytes: number): void {
    const grown = this.#memory.allocate(Uint8Array, bytes);
    this.#freeView(buffers.input);
    buffers.input = buffers.sent = grown;
  }

  close(): void {
    this.#closed = true;
    this.#reclaim();
    for (const buffers of this.#idle.splice(0)) this.#free(buffers);
  }

  #reclaim(): void {
    this.#held = this.#held.filter(({ buffers, call, reuse }) => {
      if (this.#holds(call)) return true;
      if (reuse) this.#idle.push(buffers);
      else this.#free(buffers);
      return false;
    });
  }

  #free({ input, output }: CallBuffers): void {
    this.#freeView(input);
    this.#freeView(output);
  }

  /** A released lease has taken its memory back. */
  #freeView(view: Bytes): void {
    if (!view.buffer.detached) this.#memory.free(view);
  }
}
