/** Pairs of buffers for calls of one function: used again, and kept from reuse while a call that was given up may still write. */
import { OutOfLeaseMemory } from "../errors.ts";
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
/** How often somebody who waits looks whether a function still uses the buffers of a call that was given up. */
const HELD_POLL_MS = 20;

/** A place in the line of those for whom the lease has no room. */
export interface Turn {
  /** Resolves when there may be room. */
  readonly comes: Promise<void>;
  giveUp(): void;
}

export class CallBufferPool {
  readonly #memory: LeaseMemory;
  readonly #holds: (call: Call) => boolean;
  readonly #inputBytes: number;
  readonly #leastOutputBytes: number;
  #outputBytes: number;
  #idle: CallBuffers[] = [];
  #held: { buffers: CallBuffers; call: Call }[] = [];
  /** Pairs that are in use. */
  #out = 0;
  readonly #waiting = new Set<() => void>();
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
    this.#leastOutputBytes = this.#outputBytes = outputBytes;
  }

  /** Throws `OutOfLeaseMemory`, or `LeaseLost` after the release. */
  take(): CallBuffers {
    let idle = this.#idle.pop();
    if (idle === undefined || idle.input.buffer.detached) {
      this.#idle = this.#idle.filter(({ input }) => !input.buffer.detached);
      this.#reclaim();
      idle = this.#idle.pop() ?? this.#allocateAny();
    }
    this.#out++;
    return idle;
  }

  /** As {@link take}; undefined when there will be room once others of the pool have been given back. */
  tryTake(): CallBuffers | undefined {
    try {
      return this.take();
    } catch (error) {
      if (!(error instanceof OutOfLeaseMemory) || this.#out === 0) throw error;
      return undefined;
    }
  }

  /** For a call that found no room. */
  nextTurn(): Turn {
    const { promise: comes, resolve } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    // A function that goes on after its call was given up does not say when it ends.
    const timer = this.#held.length > 0 ? setTimeout(resolve, HELD_POLL_MS) : undefined;
    void comes.then(() => {
      this.#waiting.delete(resolve);
      clearTimeout(timer);
    });
    const giveUp = (): void => {
      // Whose turn had just come lets the next go on.
      if (!this.#waiting.has(resolve)) this.#callNext();
      resolve();
    };
    return { comes, giveUp };
  }

  /** The buffers of a call that has ended. */
  giveBack(buffers: CallBuffers, call?: Call): void {
    if (call !== undefined && this.#isUsed(call) && !this.#closed)
      this.#held.push({ buffers, call });
    else this.#putBack(buffers);
    this.#callNext();
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
    for (const { buffers } of this.#held.splice(0)) this.#putBack(buffers);
    for (const buffers of this.#idle.splice(0)) this.#free(buffers);
  }

  #callNext(): void {
    const [next] = this.#waiting;
    if (next === undefined) return;
    this.#waiting.delete(next);
    next();
  }

  #putBack(buffers: CallBuffers): void {
    this.#out--;
    const isShort = buffers.output.length < this.#outputBytes;
    if (this.#closed || isShort || this.#idle.length >= MAX_IDLE) this.#free(buffers);
    else this.#idle.push(buffers);
  }

  #reclaim(): void {
    const held = this.#held;
    this.#held = held.filter(({ call }) => this.#isUsed(call));
    for (const { buffers } of held.filter((one) => !this.#held.includes(one)))
      this.#putBack(buffers);
  }

  #isUsed(call: Call): boolean {
    return !call.done || (call.abandoned !== undefined && this.#holds(call));
  }

  /** With as much room for a result as is expected, or with as little as will do. */
  #allocateAny(): CallBuffers {
    try {
      return this.#allocate(this.#outputBytes);
    } catch (error) {
      if (!(error instanceof OutOfLeaseMemory) || this.#outputBytes === this.#leastOutputBytes)
        throw error;
      return this.#allocate(this.#leastOutputBytes);
    }
  }

  #allocate(outputBytes: number): CallBuffers {
    const input = this.#memory.allocate(Uint8Array, this.#inputBytes);
    try {
      return { input, sent: input, output: this.#memory.allocate(Uint8Array, outputBytes) };
    } catch (error) {
      this.#memory.free(input);
      throw error;
    }
  }

  #free({ input, output }: CallBuffers): void {
    this.#freeView(input);
    this.#freeView(output);
  }

  /** A released lease has taken its memory back. */
  #freeView(view: Bytes): void {
    if (this.#memory.has(view)) this.#memory.free(view);
  }
}
