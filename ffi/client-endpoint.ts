/** The client's end of an endpoint: posts calls to one worker and takes their results. */
import type { Pointer } from "bun:ffi";
import { LAYOUT } from "./layout.ts";
import { native } from "./library.ts";
import type { Link } from "./link.ts";
import type { Region } from "./region.ts";

/** Of a call in a table for {@link ClientEndpoint.postMany}: function, input offset and length, output offset and capacity. */
export const POSTING_WORDS = 5;

/** Where the nanoseconds of one call went. The client above adds `queued`. */
export interface NativeTimings {
  movedNs: number;
  foundNs: number;
  ranNs: number;
  returnedNs: number;
}

/**
 * A handle of the shim's client endpoint. Methods take and return plain numbers; a result of zero or more is a byte count,
 * a negative one is a member of `STATUS`. Nothing here allocates, except reading errors and timings.
 */
export class ClientEndpoint {
  /** One synchronous call: posts, waits, returns. Offsets are bytes from the start of the region's arena. */
  readonly call: (
    fn: number,
    inputOffset: number,
    inputLength: number,
    outputOffset: number,
    outputCapacity: number,
    deadlineMs: number,
  ) => number;

  /** What {@link postMany} has posted. */
  readonly posted: Int32Array<ArrayBuffer>;
  /** What {@link harvest} has found. */
  readonly found: Int32Array<ArrayBuffer>;

  readonly #shim = native();
  readonly #errors: Uint8Array;
  readonly #handle: Pointer;

  /** `way` is how the worker's process is watched and its event loop woken, where both map the same memory; else the link. */
  constructor(
    region: Region,
    worker: number,
    slots: number,
    way: { hostPidfd: number; notifyFd: number } | Link,
  ) {
    const [hostPidfd, notifyFd, link] =
      "hostPidfd" in way ? [way.hostPidfd, way.notifyFd, null] : [-1, -1, way.handle as Pointer];
    const handle = this.#shim.rfaas_client_open(
      region.handle as Pointer,
      worker,
      hostPidfd,
      notifyFd,
      link,
    ) as Pointer;
    if ((handle as number) === 0)
      throw new RangeError("out of memory for an endpoint; lease fewer workers");
    this.#handle = handle;
    this.#errors = region.errorRecords(worker, slots);
    // Over buffers of their own, which do not move.
    this.posted = new Int32Array(new ArrayBuffer(4 * slots));
    this.found = new Int32Array(new ArrayBuffer(8 * slots));
    const { rfaas_call } = this.#shim;
    this.call = (fn, inputOffset, inputLength, outputOffset, outputCapacity, deadlineMs) =>
      rfaas_call(handle, fn, inputOffset, inputLength, outputOffset, outputCapacity, deadlineMs);
  }

  /** Posts a call. Returns its slot, `STATUS.ringFull` or `STATUS.badRequest`. */
  post(
    fn: number,
    inputOffset: number,
    inputLength: number,
    outputOffset: number,
    outputCapacity: number,
    deadlineMs: number,
  ): number {
    return this.#shim.rfaas_post(
      this.#handle,
      fn,
      inputOffset,
      inputLength,
      outputOffset,
      outputCapacity,
      deadlineMs,
    );
  }

  /**
   * Posts the calls of a table from `first` on, in order, `count` of them or until one cannot be posted. Returns how many were:
   * {@link posted} has their slots, and behind them why the next one was not, `STATUS.ringFull` or `STATUS.badRequest`. At most as
   * many as there are slots.
   */
  postMany(
    table: Uint32Array<ArrayBuffer>,
    first: number,
    count: number,
    deadlineMs: number,
  ): number {
    if ((first + count) * POSTING_WORDS > table.length || count > this.posted.length)
      throw new RangeError(`there are no ${count} calls from ${first} on`);
    return this.#shim.rfaas_post_many(this.#handle, table, first, count, deadlineMs, this.posted);
  }

  /**
   * Takes the results of posted calls, by slot from `from` on, until it has met `misses` calls without one. Returns how many:
   * {@link found} has slot and result of each.
   */
  harvest(from: number, misses: number): number {
    return this.#shim.rfaas_harvest(this.#handle, from, misses, this.found);
  }

  /** The result of a posted call, or `STATUS.pending`. */
  test(slot: number): number {
    return this.#shim.rfaas_test(this.#handle, slot);
  }

  /** Waits for a posted call, at most `timeoutMs` (0: until it ends); then `STATUS.pending`. */
  wait(slot: number, timeoutMs: number): number {
    return this.#shim.rfaas_wait(this.#handle, slot, timeoutMs);
  }

  /** Abandons a posted call; its slot returns when the worker answers. */
  abandon(slot: number): void {
    this.#shim.rfaas_abandon(this.#handle, slot);
  }

  /** The slot that the last {@link call} used. */
  lastSlot(): number {
    return this.#shim.rfaas_last_slot(this.#handle);
  }

  /** The sequence of the slot's current call, which the node knows it by and which never comes again; exact up to 2^53. */
  sequence(slot: number): number {
    return this.#shim.rfaas_slot_sequence(this.#handle, slot);
  }

  /** Whether the worker may still write the output of an abandoned call, named by its slot and sequence. */
  held(slot: number, sequence: number): boolean {
    return this.#shim.rfaas_held(this.#handle, slot, sequence) !== 0;
  }

  /** Whether the worker, or the process it lives in, is gone. */
  lost(): boolean {
    return this.#shim.rfaas_lost(this.#handle) !== 0;
  }

  /**
   * Of a worker that is lost, the {@link sequence} of the last call that it has begun, where both sides map the same memory; calls begin in
   * the order in which they were posted. Waits up to `limitMs` for a process that is being ended. Undefined where it is not known.
   */
  lastBegun(limitMs: number): number | undefined {
    const sequence = this.#shim.rfaas_begun(this.#handle, limitMs);
    return sequence < 0 ? undefined : sequence;
  }

  /** `[reason, detail]` of the worker alone, `reason` being one of `END`. */
  ended(): [reason: number, detail: number] {
    return [
      this.#shim.rfaas_worker_end(this.#handle),
      this.#shim.rfaas_worker_end_detail(this.#handle),
    ];
  }

  /** How often it blocked, and how often it should have been woken but was not. */
  sleeps(): { count: number; late: number } {
    return {
      count: this.#shim.rfaas_client_sleeps(this.#handle, 0),
      late: this.#shim.rfaas_client_sleeps(this.#handle, 1),
    };
  }

  /** A copy of the error record that the slot's last response carried. */
  errorRecord(slot: number): Uint8Array {
    const start = slot * LAYOUT.errorBytes;
    return this.#errors.slice(start, start + this.#shim.rfaas_error_length(this.#handle, slot));
  }

  /** Where the time of the slot's last call went; only for a call posted with `TIMED`. */
  timings(slot: number): NativeTimings {
    const out = new Float64Array(new ArrayBuffer(32));
    this.#shim.rfaas_timings(this.#handle, slot, out);
    const [movedNs, foundNs, ranNs, returnedNs] = out as unknown as [
      number,
      number,
      number,
      number,
    ];
    return { movedNs, foundNs, ranNs, returnedNs };
  }

  /**
   * A one-sided operation on the node's copy of the arena, one of `REMOTE`, to its end. `words` holds operand, second operand and
   * result of an atomic one. Returns `STATUS.ok`, `badRequest` or `workerLost`.
   */
  remote(
    operation: number,
    localOffset: number,
    remoteOffset: number,
    bytes: number,
    words: BigUint64Array<ArrayBuffer>,
  ): number {
    return this.#shim.rfaas_remote(
      this.#handle,
      operation,
      localOffset,
      remoteOffset,
      bytes,
      words,
    );
  }

  /** From now on the next response writes to the client's notify socket. Test every slot once more before trusting it. */
  park(): void {
    this.#shim.rfaas_client_park(this.#handle);
  }

  unpark(): void {
    this.#shim.rfaas_client_unpark(this.#handle);
  }

  /** Where both sides map the slots: lets a worker that sleeps look around. Returns whether it slept. */
  rouse(): boolean {
    return this.#shim.rfaas_rouse(this.#handle) !== 0;
  }

  /** For tests of what happens where counts wrap: the sequence of the first call, before it is made. */
  beginAt(sequence: number): void {
    this.#shim.rfaas_client_begin_at(this.#handle, sequence);
  }

  /** For tests of posts without a fence: after how many posts that need no wake-up this side gives it up. */
  setPatience(posts: number): void {
    this.#shim.rfaas_client_patience(this.#handle, posts);
  }

  /** How often it has. */
  declared(): number {
    return this.#shim.rfaas_client_declared(this.#handle);
  }

  close(): void {
    this.#shim.rfaas_client_close(this.#handle);
  }
}
