/** A place that one call of a map at a time can be in: on a worker, with buffers that are used again. */
import { UsageError } from "../../base/errors.ts";
import { leaseReleased } from "../failures/fate.ts";
import type { Flight, Posted } from "../calls/call.ts";
import type {
  LeaseBuffer,
  MemoryUse,
  TypedArray,
  TypedArrayClass,
} from "../memory/lease-memory.ts";
import type { LeaseCore } from "../calls/submission.ts";
import type { WorkerLane } from "../calls/worker-lane.ts";
import type { MapItem } from "./item.ts";

/** The owner of a station, which receives its results. */
export interface StationOwner<Value, Result> {
  ended(station: Station<Value, Result>, bytes: number, error: unknown): void;
}

export class Station<Value, Result> implements Flight {
  readonly lane: WorkerLane;
  readonly lease: LeaseCore;
  readonly timings = undefined;
  readonly onProgress = undefined;
  readonly queuedSinceNs = 0;
  readonly durationMs: number;
  readonly deadlineMs: number;
  fn = 0;
  inputOffset = 0;
  inputLength = 0;
  outputOffset = 0;
  outputCapacity = 0;
  attempt = 0;
  done = true;
  slot = -1;
  abandoned: Posted | undefined;
  cleanUp: (() => void) | undefined;
  /** What is being called. */
  item: MapItem<Value, Result> | undefined;
  /** The caller's buffers, while they are used. */
  #uses: MemoryUse | undefined;
  #target: LeaseBuffer | undefined;
  /** The buffers of inputs that are copied. */
  input: Uint8Array<ArrayBuffer> | undefined;
  output: Uint8Array<ArrayBuffer> | undefined;
  readonly #owner: StationOwner<Value, Result>;
  readonly #function: number;
  /** Where its buffers lie, and what requests say of them. */
  #own: MemoryUse | undefined;
  #inputAt = 0;
  #outputAt = 0;
  #ownFlags = 0;
  /** The input buffer as an array of what is copied. */
  #typed: TypedArray | undefined;

  constructor(
    owner: StationOwner<Value, Result>,
    lease: LeaseCore,
    lane: WorkerLane,
    fn: number,
    limits: { deadlineMs: number; durationMs: number },
  ) {
    this.#owner = owner;
    this.lease = lease;
    this.lane = lane;
    this.#function = fn;
    this.deadlineMs = limits.deadlineMs;
    this.durationMs = limits.durationMs;
  }

  /** Calls with buffers of the caller's. Throws {@link UsageError} when they are not the lease's. */
  use(input: LeaseBuffer, output: LeaseBuffer): void {
    const { memory } = this.lease;
    const uses = memory.locate(input, output);
    this.inputOffset = uses.inputOffset;
    this.inputLength = uses.inputLength;
    this.outputOffset = uses.outputOffset;
    this.outputCapacity = uses.outputCapacity;
    this.fn = this.#function | uses.flags;
    if (uses.input.copy !== undefined) uses.input.bring(input);
    memory.begin(uses);
    this.#uses = uses;
    this.#target = output;
  }

  /** Calls with buffers of its own. Throws {@link OutOfLeaseMemory}. */
  reserve(inputBytes: number, outputBytes: number): void {
    if (this.input === undefined || this.input.length < inputBytes)
      this.#renewBuffers(inputBytes, outputBytes);
    else if (this.output!.length < outputBytes) this.#renewBuffers(inputBytes, outputBytes);
    this.fn = this.#function | this.#ownFlags;
    this.inputOffset = this.#inputAt;
    this.inputLength = inputBytes;
    this.outputOffset = this.#outputAt;
    this.outputCapacity = outputBytes;
  }

  /** Copies an input. The class of a typed array moves its elements faster than a view of its bytes could be made. */
  copy(value: TypedArray, outputBytes: number): void {
    this.reserve(value.byteLength, outputBytes);
    if (this.#typed?.constructor !== value.constructor) this.#typed = this.#viewFor(value);
    (this.#typed as Uint8Array).set(value as Uint8Array);
  }

  /** The first bytes of its input. */
  inputView(bytes: number): Uint8Array<ArrayBuffer> {
    const input = this.input!;
    return input.length === bytes ? input : input.subarray(0, bytes);
  }

  begin(item: MapItem<Value, Result>): void {
    this.item = item;
    this.attempt = item.attempt;
    this.done = false;
    this.abandoned = undefined;
  }

  remainingMs(): number {
    return this.deadlineMs === 0
      ? Infinity
      : this.deadlineMs - (Bun.nanoseconds() - this.item!.startedNs) / 1e6;
  }

  // The owner decides about another attempt.
  endAttempt(bytes: number, error?: unknown): void {
    this.end(bytes, error);
  }

  end(bytes: number, error?: unknown): void {
    if (this.done) return;
    this.done = true;
    let failure = error;
    const uses = this.#uses;
    if (uses !== undefined) {
      this.#uses = undefined;
      if (error === undefined && uses.output.copy !== undefined)
        failure = failureOf(() => uses.output.fetch(this.#target!, bytes));
      const { abandoned } = this;
      this.lease.memory.end(uses, abandoned && (() => this.lane.holds({ abandoned })));
    }
    const { cleanUp } = this;
    if (cleanUp !== undefined) {
      this.cleanUp = undefined;
      cleanUp();
    }
    this.#owner.ended(this, bytes, failure);
  }

  /** Gives its buffers back to the lease. */
  close(): void {
    for (const buffer of [this.input, this.output])
      if (buffer !== undefined && this.lease.memory.has(buffer)) this.lease.memory.free(buffer);
    this.input = this.output = this.#typed = this.#own = undefined;
  }

  /** Leaves its buffers to an abandoned call for as long as the call's function runs. */
  leaveBuffers(): void {
    const { abandoned } = this;
    if (this.#own !== undefined && abandoned !== undefined)
      this.lease.memory.leave(this.#own, () => this.lane.holds({ abandoned }));
    this.close();
  }

  #renewBuffers(inputBytes: number, outputBytes: number): void {
    const needed = [
      Math.max(inputBytes, this.input?.length ?? 0),
      Math.max(outputBytes, this.output?.length ?? 0),
    ] as const;
    this.close();
    const { memory } = this.lease;
    const input = memory.allocate(Uint8Array, roundedUp(needed[0]));
    try {
      this.output = memory.allocate(Uint8Array, roundedUp(needed[1]));
    } catch (error) {
      memory.free(input);
      throw error;
    }
    this.input = input;
    const places = (this.#own = {
      input: memory.placeOf(input, "the input"),
      output: memory.placeOf(this.output, "the output"),
    });
    this.#inputAt = places.input.offset;
    this.#outputAt = places.output.offset;
    this.#ownFlags = memory.flagsOf(places, this.#inputAt);
  }

  #viewFor(value: TypedArray): TypedArray {
    if (!ArrayBuffer.isView(value) || value instanceof DataView)
      throw new UsageError(
        "an input must be a typed array, or a pair of buffers of the lease; give write and read for other values",
      );
    const { buffer, byteOffset, length } = this.input!;
    if (buffer.detached) throw leaseReleased();
    const type = value.constructor as TypedArrayClass<TypedArray>;
    return new type(buffer, byteOffset, Math.floor(length / type.BYTES_PER_ELEMENT));
  }
}

function failureOf(work: () => void): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}

/** Inputs that grow a little each time need new buffers only now and then. */
const roundedUp = (bytes: number): number =>
  bytes <= 64
    ? 64
    : bytes <= 65_536
      ? 2 ** Math.ceil(Math.log2(bytes))
      : Math.ceil(bytes / 64) * 64;
