/** Memory on the node that a client reads, writes and changes without any function taking part. */
import { REMOTE, STATUS } from "../../../ffi/layout.ts";
import { UsageError } from "../../base/errors.ts";
import { type LeaseBuffer, type LeaseMemory, requireView } from "../memory/lease-memory.ts";
import { show } from "../../base/show.ts";
import type { WorkerLane } from "../calls/worker-lane.ts";

const WORD_BYTES = 8;

/**
 * A part of the lease's memory on the node, from {@link Lease.remote}. Functions of the lease see it at {@link offset} of their
 * `ctx.memory`; it lives as long as the lease.
 *
 * Over RDMA each operation is one verb of the network card; over shared memory it is a copy, or an atomic instruction. All of
 * them return when they are complete, and wait on the spot. Over RDMA, atomic operations are atomic towards each other and, on
 * most cards, not towards the node's own processors: let functions read such words, not change them.
 *
 * @example
 * ```ts
 * const counter = lease.remote(8);
 * const before = counter.fetchAdd(0, 1n);
 * ```
 */
export interface RemoteRegion {
  readonly byteLength: number;
  /** Where it begins in the memory of its part, in bytes. */
  readonly offset: number;

  /**
   * Copies from the region, `offset` bytes from its start, into a buffer of the lease that lies with the same part.
   *
   * @throws {UsageError} it would read past the end, or the buffer is not the lease's
   * @throws {WorkerLost} the way to the node is lost
   */
  read(offset: number, into: LeaseBuffer): void;

  /** Copies a buffer of the lease into the region. Throws as {@link read}. */
  write(offset: number, from: LeaseBuffer): void;

  /**
   * Adds to the 64-bit word at `offset`, a multiple of 8, modulo 2^64. Returns what was there before.
   *
   * @throws {UsageError} no word begins there
   * @throws {WorkerLost} the way to the node is lost
   */
  fetchAdd(offset: number, delta: bigint): bigint;

  /** Stores `desired` in the word at `offset` if it is `expected`. Returns what was there before. Throws as {@link fetchAdd}. */
  compareAndSwap(offset: number, expected: bigint, desired: bigint): bigint;
}

export class MappedRegion implements RemoteRegion {
  readonly byteLength: number;
  readonly offset: number;
  readonly #lane: WorkerLane;
  readonly #memory: LeaseMemory;
  readonly #words = new BigUint64Array(new ArrayBuffer(3 * WORD_BYTES));

  constructor(lane: WorkerLane, memory: LeaseMemory, place: Uint8Array<ArrayBuffer>) {
    this.#lane = lane;
    this.#memory = memory;
    this.offset = memory.offsetOf(place);
    this.byteLength = place.byteLength;
  }

  read(offset: number, into: LeaseBuffer): void {
    requireView(into, "the buffer");
    const at = this.#localOffset(into);
    this.#do(REMOTE.read, offset, into.byteLength, at);
  }

  write(offset: number, from: LeaseBuffer): void {
    requireView(from, "the buffer");
    const at = this.#localOffset(from);
    this.#do(REMOTE.write, offset, from.byteLength, at);
  }

  fetchAdd(offset: number, delta: bigint): bigint {
    this.#words[0] = word(delta);
    this.#do(REMOTE.fetchAdd, offset, WORD_BYTES, 0);
    return this.#words[2]!;
  }

  compareAndSwap(offset: number, expected: bigint, desired: bigint): bigint {
    this.#words[0] = word(expected);
    this.#words[1] = word(desired);
    this.#do(REMOTE.compareSwap, offset, WORD_BYTES, 0);
    return this.#words[2]!;
  }

  #localOffset(buffer: LeaseBuffer): number {
    return this.#memory.offsetOf(buffer);
  }

  #do(operation: number, offset: number, bytes: number, localOffset: number): void {
    const atomic = operation >= REMOTE.fetchAdd;
    if (!Number.isInteger(offset) || offset < 0 || offset + bytes > this.byteLength)
      throw new UsageError(
        `${bytes} bytes at ${show(offset)} are not within the region's ${this.byteLength}; choose another offset or a shorter buffer`,
      );
    if (atomic && offset % WORD_BYTES !== 0)
      throw new UsageError(
        `an atomic operation needs an offset that is a multiple of 8; it is ${show(offset)}`,
      );
    if (this.#lane.lost) throw this.#lane.lost;
    const { endpoint } = this.#lane;
    const status = endpoint.remote(
      operation,
      localOffset,
      this.offset + offset,
      bytes,
      this.#words,
    );
    if (status !== STATUS.ok) throw this.#lane.errorFor(status, -1, 0);
  }
}

function word(value: bigint): bigint {
  if (typeof value === "bigint") return value;
  throw new UsageError(
    `an atomic operation takes 64-bit words as bigints, such as 1n; it was given ${show(value)}`,
  );
}
