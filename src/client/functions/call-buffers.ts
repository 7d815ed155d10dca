/** Pairs of buffers for calls of one function: used again, and kept from reuse while an abandoned call may still write. */
import { OutOfLeaseMemory } from "../../base/errors.ts";
import type { Call } from "../calls/call.ts";
import type { CallRoom } from "../memory/call-room.ts";
import type { LeaseMemory } from "../memory/lease-memory.ts";
import type { SubmitOptions } from "../options/call-options.ts";
import { withinCall } from "../calls/within-call.ts";

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
  readonly #room: CallRoom;
  readonly #holds: (call: Call) => boolean;
  readonly #inputBytes: number;
  readonly #leastOutputBytes: number;
  #outputBytes: number;
  #idle: CallBuffers[] = [];
  #held: { buffers: CallBuffers; call: Call }[] = [];
  #listed = false;
  #closed = false;

  constructor(
    memory: LeaseMemory,
    holds: (call: Call) => boolean,
    inputBytes: number,
    outputBytes: number,
  ) {
    this.#memory = memory;
    this.#room = memory.room;
    this.#holds = holds;
    this.#inputBytes = inputBytes;
    this.#leastOutputBytes = this.#outputBytes = outputBytes;
  }

  /** For an input of so many bytes, or of as many as are usual. Throws `OutOfLeaseMemory`, or `LeaseLost` after the release. */
  take(inputBytes = 0): CallBuffers {
    let idle = this.#idle.pop();
    if (idle === undefined || idle.input.buffer.detached) {
      this.#idle = this.#idle.filter(({ input }) => !input.buffer.detached);
      this.#reclaim();
      idle = this.#idle.pop() ?? this.#allocateAny();
    }
    if (idle.input.length < inputBytes)
      try {
        this.growInput(idle, inputBytes);
      } catch (error) {
        this.#free(idle);
        throw error;
      }
    this.#room.taken++;
    return idle;
  }

  /** As {@link take}; undefined when there may be room once other calls of the lease's handles have ended. */
  tryTake(inputBytes = 0): CallBuffers | undefined {
    try {
      return this.take(inputBytes);
    } catch (error) {
      if (!(error instanceof OutOfLeaseMemory) || this.#room.taken === 0) throw error;
      return undefined;
    }
  }

  /** As {@link take}, as soon as there is room, for as long as the call may take. Resolves to what is left of its time, too. */
  async takeInTurn(
    inputBytes: number,
    options: SubmitOptions | undefined,
  ): Promise<{ buffers: CallBuffers; left: SubmitOptions | undefined }> {
    for (let left = options; ;) {
      const turn = this.#room.nextTurn();
      try {
        left = await withinCall(turn.comes, left);
        const buffers = this.tryTake(inputBytes);
        if (buffers !== undefined) return { buffers, left };
      } catch (error) {
        // Also when the lease is over, so that the next waiter fails at once.
        turn.leave();
        throw error;
      }
    }
  }

  /** The buffers of a call that has ended. */
  giveBack(buffers: CallBuffers, call?: Call): void {
    if (call !== undefined && this.#isUsed(call) && !this.#closed) {
      this.#held.push({ buffers, call });
      this.#room.held++;
    } else this.#putBack(buffers);
    this.#room.callNext();
  }

  /** Gives later calls room for outputs of this length, if the lease has it: a function with one long result has others. */
  expectOutput(bytes: number): void {
    if (bytes <= this.#outputBytes) return;
    this.#outputBytes = bytes;
    for (const buffers of this.#idle.splice(0)) this.#free(buffers);
  }

  /** Makes room for an input of `bytes` bytes and drops the contents of the old one. Throws `OutOfLeaseMemory`. */
  growInput(buffers: CallBuffers, bytes: number): void {
    const { length } = buffers.input;
    this.#freeView(buffers.input);
    const renew = (size: number): void => {
      buffers.input = buffers.sent = this.#memory.allocate(Uint8Array, size);
    };
    try {
      renew(bytes);
    } catch (error) {
      if (error instanceof OutOfLeaseMemory) renew(length);
      throw error;
    }
  }

  /** As {@link growInput} if need be; false when there may be room once other calls of the lease's handles have ended. */
  tryGrowInput(buffers: CallBuffers, bytes: number): boolean {
    if (buffers.input.length >= bytes) return true;
    try {
      this.growInput(buffers, bytes);
      return true;
    } catch (error) {
      // The pair itself is one of those that are taken.
      if (!(error instanceof OutOfLeaseMemory) || this.#room.taken === 1) throw error;
      return false;
    }
  }

  close(): void {
    this.#closed = true;
    this.#room.held -= this.#held.length;
    for (const { buffers } of this.#held.splice(0)) this.#putBack(buffers);
    this.#letGo();
  }

  #putBack(buffers: CallBuffers): void {
    this.#room.taken--;
    const isShort = buffers.output.length < this.#outputBytes;
    if (this.#closed || isShort || this.#idle.length >= MAX_IDLE) return this.#free(buffers);
    this.#idle.push(buffers);
    if (this.#listed) return;
    this.#listed = true;
    this.#room.addSpares(() => {
      this.#listed = false;
      this.#letGo();
    });
  }

  #letGo(): void {
    this.#reclaim();
    for (const buffers of this.#idle.splice(0)) this.#free(buffers);
  }

  #reclaim(): void {
    const held = this.#held;
    this.#held = held.filter(({ call }) => this.#isUsed(call));
    this.#room.held -= held.length - this.#held.length;
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
