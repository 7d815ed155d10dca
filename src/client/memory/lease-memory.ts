/**
 * A lease's registered memory: typed arrays in it, and which of it calls use.
 *
 * Each allocation is an `ArrayBuffer` of its own: whatever a program does with one (fills all of its buffer, transfers it) is done
 * to that allocation alone. A piece is given to others only when no call can read or write it any more.
 */
import { HEADED } from "../../../ffi/layout.ts";
import { LeaseLost, OutOfLeaseMemory, UsageError } from "../../base/errors.ts";
import type { MemoryPin } from "../../fabric/memory-pin.ts";
import { TYPED_ARRAYS } from "../../codec/wire.ts";
import { Arena } from "./arena.ts";
import { CallRoom } from "./call-room.ts";
import { Heritage } from "./heritage.ts";
import { show } from "../../base/show.ts";
import { Place, lengthOf } from "./place.ts";
import { type LocatedPair, RecentPairs } from "./recent-pairs.ts";
import { type Registration, Registrations } from "./registrations.ts";

export type TypedArray = ArrayBufferView<ArrayBuffer> & { readonly length: number };

/** A typed array class over an `ArrayBuffer`: `Float32Array`, `Uint8Array`, `BigInt64Array`, .. */
export interface TypedArrayClass<View extends TypedArray> {
  new (buffer: ArrayBuffer, byteOffset: number, length: number): View;
  readonly BYTES_PER_ELEMENT: number;
}

/**
 * A view of a lease's memory, from {@link Lease.input} or {@link Lease.output}, or of what {@link Lease.register} was given, or a
 * `subarray` of one.
 */
export type LeaseBuffer = ArrayBufferView;

const MAX_OUTPUT_BYTES = 2 ** 31 - 1;

/** Where the bytes are. */
export interface MemoryRegion {
  readonly arenaBytes: number;
  /** A part of it as a buffer of its own. */
  lend(offset: number, bytes: number): ArrayBuffer;
  /** Makes a lent buffer empty. Returns whether its bytes are then unreachable for the program. */
  recall(buffer: ArrayBuffer): boolean;
}

/** What the memory needs of the fabric. */
export interface MemoryFabric {
  /** Bytes in front of every buffer that the fabric needs. */
  readonly headroomBytes: number;
  /** Prepares the first `endBytes` bytes of the region for their use, where the fabric has that to do. */
  readonly handOut?: ((endBytes: number) => void) | undefined;
  readonly pin: MemoryPin | undefined;
}

/** What a call uses of the memory, from {@link LeaseMemory.begin} to {@link LeaseMemory.end}. */
export interface MemoryUse {
  readonly input: Place;
  readonly output: Place;
}

/** An abandoned call: whether its worker may still be at work on it. */
export type StillRuns = () => boolean;

export class LeaseMemory {
  readonly room = new CallRoom();
  readonly #region: MemoryRegion;
  readonly #arena: Arena;
  readonly #headroomBytes: number;
  readonly #handOut: ((endBytes: number) => void) | undefined;
  readonly #registrations: Registrations;
  /** By the buffer that the program has. */
  readonly #allocated = new Map<ArrayBufferLike, Place>();
  readonly #recent = new RecentPairs((input, output) => this.#locate(input, output));
  readonly #heritage = new Heritage((view) => this.#registrations.add(view));
  #abandoned: { use: MemoryUse; runs: StillRuns }[] = [];
  #closed = false;

  constructor(region: MemoryRegion, fabric: MemoryFabric) {
    this.#region = region;
    this.#headroomBytes = fabric.headroomBytes;
    this.#handOut = fabric.handOut;
    this.#arena = new Arena(region.arenaBytes);
    this.#registrations = new Registrations({
      allocate: (bytes) => this.#take(bytes),
      release: (offset) => this.#release(offset),
      lend: (offset, bytes) => region.lend(offset, bytes),
      recall: (buffer) => region.recall(buffer),
      pin: fabric.pin,
    });
  }

  get totalBytes(): number {
    return this.#region.arenaBytes;
  }

  get freeBytes(): number {
    this.#reclaim();
    return this.#arena.freeBytes;
  }

  /** A typed array of `length` elements. Throws {@link OutOfLeaseMemory}, {@link UsageError}, or {@link LeaseLost} after the release. */
  allocate<View extends TypedArray>(type: TypedArrayClass<View>, length: number): View {
    this.#throwIfClosed();
    if (typeof type !== "function" || !ARRAY_TYPES.some((known) => isOrExtends(type, known)))
      throw new UsageError(
        `a buffer's type must be a typed array class such as Float32Array; it is ${show(type)}`,
      );
    if (!Number.isSafeInteger(length) || length < 0)
      throw new UsageError(
        `a buffer's length must be a whole number; it is ${show(length)}; pass a number of elements`,
      );
    const bytes = length * type.BYTES_PER_ELEMENT;
    this.#reclaim();
    const offset = this.#take(bytes);
    const buffer = this.#region.lend(offset, bytes);
    this.#allocated.set(buffer, new Place({ offset, bytes, buffer, start: 0 }));
    return new type(buffer, 0, length);
  }

  /**
   * Gives an allocation back, by the view that it was made as, which becomes empty. Calls that use it may go on doing so: until
   * then, the memory is not given to others. Throws {@link UsageError}.
   */
  free(view: LeaseBuffer): void {
    requireView(view, "the buffer");
    // All of its memory went with the lease; a caller that frees when its call has ended hears of that from the call.
    if (this.#closed) return;
    const place = this.#allocated.get(view.buffer);
    if (place === undefined || (lengthOf(view) > 0 && view.byteOffset > 0))
      throw new UsageError(
        "this buffer was not allocated by the lease, or was freed before; free each buffer once",
      );
    this.#allocated.delete(place.buffer);
    this.forget();
    // The program may still write a buffer that it has transferred: its memory stays taken until the lease ends.
    if (!this.#region.recall(place.buffer as ArrayBuffer)) return;
    this.#reclaim();
    place.givenBack = true;
    if (place.calls === 0) this.#release(place.offset);
  }

  /** Whether the program, or a handle of it, has memory of this. */
  get isUsed(): boolean {
    return this.#allocated.size > 0;
  }

  /** Calls may use what was allocated in a memory that calls no longer reach: it is copied, as memory of the program's own is. */
  inherit(former: LeaseMemory): void {
    this.#heritage.add(former);
  }

  /** What was taken over of this buffer of a former memory is free for others. */
  disown(buffer: ArrayBufferLike): void {
    this.#heritage.disown(buffer);
  }

  /** Whether a view was allocated here, and not freed. */
  has(view: LeaseBuffer): boolean {
    return !this.#closed && this.#allocated.has(view.buffer);
  }

  /** Lets calls use the memory of a view of the program's own. */
  register(view: LeaseBuffer): Registration {
    this.#throwIfClosed();
    requireView(view, "what is registered");
    if (this.#allocated.has(view.buffer))
      throw new UsageError("this is memory of the lease already; use it as it is");
    this.#reclaim();
    return this.#registrations.add(view);
  }

  /** What a view is a view of. Throws {@link UsageError} when that is nothing of the lease's. */
  placeOf(view: LeaseBuffer, what: string): Place {
    // Its position and length must come from the engine, not from getters that the program may override.
    requireView(view, what);
    const allocated = this.#allocated.get(view.buffer);
    if (allocated !== undefined) {
      if (lengthOf(view) === 0) throwIfTransferred(view, what);
      return allocated;
    }
    const registered =
      this.#registrations.find(view) ??
      (!this.#closed && this.#heritage.takeOver(view) ? this.#registrations.find(view) : undefined);
    if (registered !== undefined) return registered;
    if (this.#closed) throw released();
    throw new UsageError(
      `${what} is not in the lease's memory; allocate it with lease.input or lease.output, or register it with lease.register`,
    );
  }

  /** As {@link placeOf}, for a view that will hold a result: its length is a positive 32-bit integer. */
  outputPlaceOf(view: LeaseBuffer, what = "the output"): Place {
    const place = this.placeOf(view, what);
    if (view.byteLength > MAX_OUTPUT_BYTES)
      throw new UsageError(
        `an output has at most 2 GiB less 1 byte, this one has ${view.byteLength}; split the result`,
      );
    return place;
  }

  /** Where memory that was allocated here lies. Throws {@link UsageError} for any other. */
  offsetOf(view: LeaseBuffer): number {
    const place = this.placeOf(view, "the buffer");
    if (this.#allocated.has(place.buffer)) return place.offsetOf(view);
    throw new UsageError(
      "one-sided operations take buffers of the lease; allocate one with lease.input",
    );
  }

  /** Where the buffers of a call lie, and what its request says of them. Throws {@link UsageError}, as {@link placeOf} does. */
  locate(input: LeaseBuffer, output: LeaseBuffer): LocatedPair {
    return this.#recent.locate(input, output);
  }

  /** Asks all buffers anew where they lie. */
  forget(): void {
    this.#recent.clear();
  }

  /** What a request must say of its buffers, besides where they lie: whose memory it is, and whether the line in front is free. */
  flagsOf({ input, output }: MemoryUse, inputOffset: number): number {
    const headed = this.#headroomBytes > 0 && inputOffset === input.offset ? HEADED : 0;
    return headed | input.inputFlag | output.becomeOutput();
  }

  /** A call begins to use memory. */
  begin({ input, output }: MemoryUse): void {
    input.calls++;
    output.calls++;
  }

  /** A call has ended. One that was abandoned while its function may go on `runs` until it says otherwise. */
  end(use: MemoryUse, runs?: StillRuns): void {
    if (runs !== undefined) {
      this.#abandoned.push({ use, runs });
      return;
    }
    this.#unuse(use.input);
    this.#unuse(use.output);
  }

  /** Many calls begin to use these pieces of memory. */
  hold(places: ReadonlySet<Place>): void {
    for (const place of places) place.calls++;
  }

  /** All of those calls have ended. */
  letGo(places: ReadonlySet<Place>): void {
    for (const place of places) this.#unuse(place);
  }

  /** A call was abandoned that has not {@link begin begun} here: its memory is its own while it `runs`. */
  leave(use: MemoryUse, runs: StillRuns): void {
    this.begin(use);
    this.end(use, runs);
  }

  /** The lease is over: allocates nothing from then on. */
  close(): void {
    this.#closed = true;
    this.forget();
    this.#allocated.clear();
    this.#registrations.close();
    this.#abandoned = [];
  }

  #locate(input: LeaseBuffer, output: LeaseBuffer): LocatedPair {
    const use = { input: this.placeOf(input, "the input"), output: this.outputPlaceOf(output) };
    const inputOffset = use.input.offsetOf(input);
    return {
      inputView: input,
      outputView: output,
      input: use.input,
      output: use.output,
      inputOffset,
      inputLength: input.byteLength,
      outputOffset: use.output.offsetOf(output),
      outputCapacity: output.byteLength,
      flags: this.flagsOf(use, inputOffset),
    };
  }

  #unuse(place: Place): void {
    if (--place.calls > 0 || !place.givenBack || this.#closed) return;
    if (place.isRegistered) this.#registrations.drop(place);
    else this.#release(place.offset);
  }

  #reclaim(): void {
    if (this.#abandoned.length === 0) return;
    const ended = this.#abandoned.filter(({ runs }) => !runs());
    if (ended.length === 0) return;
    this.#abandoned = this.#abandoned.filter((call) => !ended.includes(call));
    for (const { use } of ended) this.end(use);
  }

  #take(bytes: number): number {
    const offset = this.#takeRoom(this.#headroomBytes + bytes) + this.#headroomBytes;
    this.#handOut?.(offset + bytes);
    return offset;
  }

  #takeRoom(bytes: number): number {
    try {
      return this.#arena.allocate(bytes);
    } catch (error) {
      if (!(error instanceof OutOfLeaseMemory) || !this.room.letGo()) throw error;
      return this.#arena.allocate(bytes);
    }
  }

  #release(offset: number): void {
    this.#arena.release(offset - this.#headroomBytes);
  }

  #throwIfClosed(): void {
    if (this.#closed) throw released();
  }
}

/** Throws {@link UsageError} when a program passes anything but a view of memory. */
export function requireView(view: unknown, what: string): void {
  if (!ArrayBuffer.isView(view))
    throw new UsageError(
      `${what} must be a typed array or a DataView; it is ${show(view)}; see lease.input and lease.output`,
    );
}

/** On the wire a `Uint8Array` is plain bytes. */
const ARRAY_TYPES: readonly unknown[] = [Uint8Array, ...TYPED_ARRAYS];

const isOrExtends = (type: object, known: unknown): boolean =>
  type === known || Object.getPrototypeOf(type) === known;

function throwIfTransferred({ buffer }: LeaseBuffer, what: string): void {
  if (buffer instanceof ArrayBuffer && buffer.detached)
    throw new UsageError(
      `${what} was transferred, so the lease has it no longer; allocate another, and pass a copy on`,
    );
}

/** No call of it has run. */
const released = (): LeaseLost =>
  new LeaseLost("the lease was released; take a new one", { mayHaveRun: false });
