/**
 * The worker's end of an endpoint. The host's main thread opens it and may stop it; the worker thread attaches to the same
 * native object by its address and runs calls.
 */
import { type Pointer, toArrayBuffer } from "bun:ffi";
import { check } from "./errors.ts";
import { LAYOUT } from "./layout.ts";
import { native } from "./library.ts";
import type { Link } from "./link.ts";
import { type Region, viewAt } from "./region.ts";

/** Fields of a request as the worker keeps it, in 32-bit words from the start of a slot. */
export const REQUEST = {
  inputOffset: 8,
  inputLength: 9,
  outputOffset: 10,
  outputCapacity: 11,
  function: 12,
  deadlineMs: 13,
  /** All of it, in two words: it never comes again. */
  sequence: 32,
  sequenceHigh: 33,
};
export const FUNCTION_MASK = 0x000fffff;
export const INPUT_INLINE = 0x40000000;
export const OUTPUT_INLINE = 0x20000000;

/** No request within a bounded wait. */
export const IDLE = -1;
/** The worker is asked to stop. */
export const STOPPED = -2;

/** The host's side: owns the native object, may be asked from the main thread while the worker runs. */
export class WorkerControl {
  readonly handle: number;
  #loopFd: number;

  /** `loopFd` wakes the worker's event loop; `way` is what wakes the client's, where both map the same memory, else the link. */
  constructor(region: Region, worker: number, loopFd: number, way: { clientFd: number } | Link) {
    const [notifyFd, link] =
      "clientFd" in way ? [way.clientFd, null] : [loopFd, way.handle as Pointer];
    const handle = native().rfaas_worker_open(region.handle as Pointer, worker, notifyFd, link);
    if (handle === 0) throw new RangeError("out of memory for an endpoint; lease fewer workers");
    this.handle = handle;
    this.#loopFd = loopFd;
  }

  /** The thread is at rest, and `region` has the memory of the next lease: begins anew, at the same address. Throws `NativeError`. */
  renew(region: Region, worker: number, loopFd: number, clientFd: number): void {
    const handles = [this.handle, region.handle] as [Pointer, Pointer];
    check("opening an endpoint", native().rfaas_worker_renew(...handles, worker, clientFd));
    this.#loopFd = loopFd;
  }

  /** Brings the thread back from native code at once. */
  stop(): void {
    native().rfaas_worker_stop(this.handle as Pointer, this.#loopFd);
  }

  /** Whether the call that `sequence` names has begun and not been answered. */
  begun(slot: number, sequence: number): boolean {
    return native().rfaas_worker_begun(this.handle as Pointer, slot, sequence) !== 0;
  }

  /** Whether the call that `sequence` names is in user code at this moment, not waiting and not a pending promise. */
  runs(slot: number, sequence: number): boolean {
    return native().rfaas_worker_runs(this.handle as Pointer, slot, sequence) !== 0;
  }

  /** From now on no call begins: those that wait and those that come end as {@link STATUS}.notBegun. */
  close(): void {
    native().rfaas_worker_close(this.handle as Pointer, this.#loopFd);
  }

  /** The sequences of the calls that have begun and are not answered, of a worker with so many slots. */
  active(slots: number): Float64Array {
    const sequences = new Float64Array(new ArrayBuffer(8 * slots));
    const count = native().rfaas_worker_active(this.handle as Pointer, sequences);
    return sequences.subarray(0, count);
  }

  /** After the thread's end: calls that it had begun end as lost, queued calls wait for the next thread. */
  abortCalls(): void {
    native().rfaas_worker_abort_calls(this.handle as Pointer);
  }

  /** For tests of what happens where counts wrap: the sequence of the first call, before it comes. */
  beginAt(sequence: number): void {
    native().rfaas_worker_begin_at(this.handle as Pointer, sequence);
  }

  /** No thread will come back. `reason` is one of `END`. */
  lose(reason: number, detail: number): void {
    native().rfaas_worker_lose(this.handle as Pointer, reason, detail);
  }
}

/** A thread of the host that answers its agent's question whether the host is there. It lives as long as the process. */
export class HostBeat {
  readonly #handle: Pointer;

  /** Throws `NativeError`. */
  constructor() {
    const started = native().rfaas_beat_start();
    this.#handle = check("starting the thread that answers the agent", started) as Pointer;
  }

  /** Answers in the memory of `region` from now on, for the calls of its workers. Looks at no memory while `prepare` runs. */
  answerFor(region: Region, workers: readonly WorkerControl[], prepare = (): void => {}): void {
    const handles = new Float64Array(new ArrayBuffer(8 * workers.length));
    for (const [index, { handle }] of workers.entries()) handles[index] = handle;
    native().rfaas_beat_pause(this.#handle);
    try {
      prepare();
    } finally {
      const at = region.handle as Pointer;
      native().rfaas_beat_answer_for(this.#handle, at, handles, workers.length);
    }
  }
}

/** The worker thread's side. */
export class WorkerEndpoint {
  /** Answers `slot` (unless -1) with `length` bytes and finds the next request: a slot, {@link IDLE} or {@link STOPPED}. */
  readonly turn: (slot: number, length: number, asyncCalls: number) => number;
  /** The requests as checked, `slotWords` 32-bit words apart; {@link REQUEST} names the fields. */
  readonly requests: Uint32Array;
  readonly slotWords: number;
  /** Private memory of inline payloads: the input at the start of a slot, the output 64 bytes on. */
  readonly scratch: ArrayBuffer;
  readonly #shim = native();
  readonly #handle: Pointer;
  readonly #slots: Pointer;

  constructor(handle: number, slots: number) {
    this.#handle = handle as Pointer;
    const stride = this.#shim.rfaas_worker_slot_stride();
    this.#slots = this.#shim.rfaas_worker_slots(this.#handle) as Pointer;
    this.scratch = toArrayBuffer(this.#slots, 0, slots * stride);
    this.requests = new Uint32Array(this.scratch);
    this.slotWords = stride / 4;
    const { rfaas_worker_turn } = this.#shim;
    this.turn = (slot, length, asyncCalls) =>
      rfaas_worker_turn(handle as Pointer, slot, length, asyncCalls);
  }

  /** The sequence of the call that `slot` holds, exact up to 2^53. */
  sequence(slot: number): number {
    const at = slot * this.slotWords;
    return (
      this.requests[at + REQUEST.sequence]! + this.requests[at + REQUEST.sequenceHigh]! * 2 ** 32
    );
  }

  /** A view of a slot's inline input with a buffer of its own, for user code: nothing else can be reached through it. */
  inlineInput(slot: number, length: number): Uint8Array<ArrayBuffer> {
    return viewAt(this.#slots, 4 * slot * this.slotWords, length);
  }

  /** The same of its inline output. */
  inlineOutput(slot: number, length: number): Uint8Array<ArrayBuffer> {
    return viewAt(this.#slots, 4 * slot * this.slotWords + SCRATCH_OUTPUT, length);
  }

  /** `named` of them are the module's: those behind may be called when no call begins any more. */
  setFunctionCount(count: number, named = count): void {
    this.#shim.rfaas_worker_functions(this.#handle, count, named);
  }

  /**
   * Answers out of turn. `status` is one of `STATUS`, `length` counts output or error bytes. Returns the status that the call ends
   * with: after its deadline, that alone.
   */
  answer(slot: number, status: number, length: number): number {
    return this.#shim.rfaas_worker_answer(this.#handle, slot, status, length);
  }

  /** The call continues as a promise. */
  defer(slot: number): void {
    this.#shim.rfaas_worker_defer(this.#handle, slot);
  }

  /** Milliseconds until the deadline of the call in `slot`, by its caller's clock; -1 without one. */
  remainingMs(slot: number): number {
    return this.#shim.rfaas_worker_remaining(this.#handle, slot);
  }

  /** True when a request is already there; otherwise the next one writes to the worker's notify socket. */
  park(): boolean {
    return this.#shim.rfaas_worker_park(this.#handle) !== 0;
  }

  /** How often it blocked, and how often it should have been woken but was not. */
  sleeps(): { count: number; late: number } {
    return {
      count: this.#shim.rfaas_worker_sleeps(this.#handle, 0),
      late: this.#shim.rfaas_worker_sleeps(this.#handle, 1),
    };
  }

  unpark(): void {
    this.#shim.rfaas_worker_unpark(this.#handle);
  }

  /** For tests of posts without a fence: after how many posts that need no wake-up this side gives it up. */
  setPatience(posts: number): void {
    this.#shim.rfaas_worker_patience(this.#handle, posts);
  }

  /** How often it has. */
  declared(): number {
    return this.#shim.rfaas_worker_declared(this.#handle);
  }
}

/** Byte offset of a slot's inline output within {@link WorkerEndpoint.scratch}, from the slot's start. */
export const SCRATCH_OUTPUT = LAYOUT.requestBytes;
