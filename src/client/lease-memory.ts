/** A lease's registered memory: typed arrays in it, and whether a view lies in it. */
import { HEADED, INPUT_OWN, OUTPUT_OWN } from "../../ffi/layout.ts";
import { LeaseLost, OutOfLeaseMemory, UsageError } from "../errors.ts";
import { Arena } from "./arena.ts";
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
export type LeaseBuffer = ArrayBufferView<ArrayBuffer>;

const MAX_OUTPUT_BYTES = 2 ** 31 - 1;

/** What the memory needs of the fabric. */
export interface MemoryFabric {
  /** Bytes in front of every buffer that the fabric needs. */
  readonly headroomBytes: number;
  register(offset: number, memory: ArrayBufferView): void;
  unregister(offset: number): void;
}

export class LeaseMemory {
  readonly #buffer: ArrayBuffer;
  readonly #arena: Arena;
  readonly #headroomBytes: number;
  readonly #registrations: Registrations;

  /** Over all of `buffer`, which becomes empty when the lease is released. */
  constructor(buffer: ArrayBuffer, fabric: MemoryFabric) {
    this.#buffer = buffer;
    this.#headroomBytes = fabric.headroomBytes;
    this.#arena = new Arena(buffer.byteLength);
    this.#registrations = new Registrations({
      allocate: (bytes) => this.#take(bytes),
      release: (offset) => this.#arena.release(offset - this.#headroomBytes),
      register: (offset, memory) => fabric.register(offset, memory),
      unregister: (offset) => fabric.unregister(offset),
    });
  }

  get freeBytes(): number {
    return this.#arena.freeBytes;
  }

  /** A typed array of `length` elements. Throws {@link OutOfLeaseMemory}, {@link UsageError}, or {@link LeaseLost} after the release. */
  allocate<View extends TypedArray>(type: TypedArrayClass<View>, length: number): View {
    this.#throwIfReleased();
    if (!Number.isSafeInteger(length) || length < 0)
      throw new UsageError(`a buffer's length must be a whole number; it is ${length}`);
    const bytes = length * type.BYTES_PER_ELEMENT;
    for (;;) {
      try {
        return new type(this.#buffer, this.#take(bytes), length);
      } catch (error) {
        if (!(error instanceof OutOfLeaseMemory) || !this.#registrations.forgetIdle()) throw error;
      }
    }
  }

  /** Gives an allocation back, by the view that it was made as. */
  free(view: LeaseBuffer): void {
    if (view.buffer !== this.#buffer) throw notOurs("the buffer");
    this.#arena.release(view.byteOffset - this.#headroomBytes);
  }

  /** Lets calls use the memory of a view of the program's own. */
  register(view: LeaseBuffer): Registration {
    this.#throwIfReleased();
    if (view.buffer === this.#buffer)
      throw new UsageError("this is memory of the lease already; use it as it is");
    return this.#registrations.add(view);
  }

  /** Where a view lies, in bytes from the start of the lease's memory. Throws {@link UsageError} when it lies elsewhere. */
  offsetOf(view: LeaseBuffer, what: string): number {
    if (view.buffer === this.#buffer) return view.byteOffset;
    const offset = this.#registrations.offsetOf(view);
    if (offset === undefined) throw notOurs(what);
    return offset;
  }

  /** As {@link offsetOf}, for a view that will hold a result: its length is a positive 32-bit integer. */
  outputOffsetOf(view: LeaseBuffer): number {
    const offset = this.offsetOf(view, "the output");
    if (view.byteLength > MAX_OUTPUT_BYTES)
      throw new UsageError(
        `an output has at most 2 GiB less 1 byte, this one has ${view.byteLength}; split the result`,
      );
    return offset;
  }

  /** Whether a view lies in registered memory of the program's own. */
  isOwn(view: LeaseBuffer): boolean {
    return view.buffer !== this.#buffer && this.#registrations.offsetOf(view) !== undefined;
  }

  /** What a call must say of its buffers, besides where they lie: whose memory it is, and whether the line in front is free. */
  flagsOf(input: LeaseBuffer, inputOffset: number, output: LeaseBuffer): number {
    const headed =
      this.#headroomBytes > 0 && this.#arena.holds(inputOffset - this.#headroomBytes) ? HEADED : 0;
    const ownInput = input.buffer === this.#buffer ? 0 : INPUT_OWN;
    const ownOutput = output.buffer === this.#buffer ? 0 : OUTPUT_OWN;
    return headed | ownInput | ownOutput;
  }

  #take(bytes: number): number {
    return this.#arena.allocate(this.#headroomBytes + bytes) + this.#headroomBytes;
  }

  #throwIfReleased(): void {
    if (this.#buffer.detached) throw new LeaseLost("the lease was released; take a new one");
  }
}

function notOurs(what: string): UsageError {
  return new UsageError(
    `${what} is not in the lease's memory; allocate it with lease.input or lease.output, or register it with lease.register`,
  );
}
