/** A lease's registered memory: typed arrays in it, and whether a view lies in it. */
import { HEADED } from "../../ffi/layout.ts";
import { LeaseLost, UsageError } from "../errors.ts";
import { Arena } from "./arena.ts";

export type TypedArray = ArrayBufferView<ArrayBuffer> & { readonly length: number };

/** A typed array class over an `ArrayBuffer`: `Float32Array`, `Uint8Array`, `BigInt64Array`, .. */
export interface TypedArrayClass<View extends TypedArray> {
  new (buffer: ArrayBuffer, byteOffset: number, length: number): View;
  readonly BYTES_PER_ELEMENT: number;
}

/** A view of a lease's registered memory, from {@link Lease.input} or {@link Lease.output}, or a `subarray` of one. */
export type LeaseBuffer = ArrayBufferView<ArrayBuffer>;

const MAX_OUTPUT_BYTES = 2 ** 31 - 1;

export class LeaseMemory {
  readonly #buffer: ArrayBuffer;
  readonly #arena: Arena;
  readonly #headroomBytes: number;

  /** Over all of `buffer`, which becomes empty when the lease is released. Each allocation has `headroomBytes` in front. */
  constructor(buffer: ArrayBuffer, headroomBytes: number) {
    this.#buffer = buffer;
    this.#headroomBytes = headroomBytes;
    this.#arena = new Arena(buffer.byteLength);
  }

  get freeBytes(): number {
    return this.#arena.freeBytes;
  }

  /** A typed array of `length` elements. Throws `OutOfLeaseMemory`, {@link UsageError}, or {@link LeaseLost} after the release. */
  allocate<View extends TypedArray>(type: TypedArrayClass<View>, length: number): View {
    if (this.#buffer.detached) throw new LeaseLost("the lease was released; take a new one");
    if (!Number.isSafeInteger(length) || length < 0)
      throw new UsageError(`a buffer's length must be a whole number; it is ${length}`);
    const start = this.#arena.allocate(this.#headroomBytes + length * type.BYTES_PER_ELEMENT);
    return new type(this.#buffer, start + this.#headroomBytes, length);
  }

  /** Gives an allocation back, by the view that it was made as. */
  free(view: LeaseBuffer): void {
    this.require(view, "the buffer");
    this.#arena.release(view.byteOffset - this.#headroomBytes);
  }

  /** What a call must say of its input: that the line in front of it is not part of any other buffer. A subarray has none. */
  flagsOf(input: LeaseBuffer): number {
    const headed =
      this.#headroomBytes > 0 && this.#arena.holds(input.byteOffset - this.#headroomBytes);
    return headed ? HEADED : 0;
  }

  /** As {@link require}, for a view that will hold a result: its length is a positive 32-bit integer. */
  requireOutput(view: LeaseBuffer): void {
    this.require(view, "the output");
    if (view.byteLength > MAX_OUTPUT_BYTES)
      throw new UsageError(
        `an output has at most 2 GiB less 1 byte, this one has ${view.byteLength}; split the result`,
      );
  }

  /** Throws {@link UsageError} when the view lies elsewhere. */
  require(view: LeaseBuffer, what: string): void {
    if (view.buffer !== this.#buffer)
      throw new UsageError(
        `${what} is not in the lease's memory; allocate it with lease.input or lease.output`,
      );
  }
}
