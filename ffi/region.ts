/**
 * A lease's shared memory: control pages (rings, error records) and the arena that holds payloads.
 *
 * The node creates a region and gives its descriptor to the client and to the lease's host; each maps it, once it has seen that
 * no process can shrink it. JavaScript sees the arena in buffers that are lent for a part of it; the control pages stay behind the shim.
 */
import { type Pointer, toArrayBuffer } from "bun:ffi";
import { check } from "./errors.ts";
import { LAYOUT, POLLING, type Polling } from "./layout.ts";
import { native } from "./library.ts";

export interface RegionShape {
  workers: number;
  /** Calls in flight per worker: a power of two. */
  slots: number;
  arenaBytes: number;
  polling: Polling;
  /** How long both sides spin before they block, when `polling` is not hot. */
  spinNs: number;
}

/** Creates the memory of a lease. Returns a descriptor that the caller closes. Throws `NativeError`. */
export function createRegion(shape: RegionShape): number {
  const { workers, slots, arenaBytes, polling, spinNs } = shape;
  return check(
    "creating the lease's memory",
    native().rfaas_region_create(workers, slots, arenaBytes, POLLING[polling], spinNs),
  );
}

/** The counts that a lease's workers report, summed over all workers. */
export interface WorkerCounts {
  calls: number;
  /** Of inputs and outputs. */
  bytes: number;
  /** Spent looking for a next call, where that took longer than some microseconds. */
  polledNs: number;
  /** Workers in user code at this moment. */
  running: number;
}

/** What a host has answered to the question whether it is there. */
export interface HostBeat {
  /** It has a thread that answers. */
  beats: boolean;
  /** All that was asked has been answered. */
  answered: boolean;
  /** Calls that had begun and were not answered, as it answered last. */
  active: number;
  /** Workers in user code at this moment. */
  running: number;
  /** Changes when calls begin or end, and while a call waits for long whose client maps this memory. */
  moved: number;
}

/** The first pages of a region, where an agent writes why a lease ended, reads its usage, and asks whether its host is there. */
export class LeasePage {
  readonly #address: Pointer;
  readonly #counts = new Float64Array(new ArrayBuffer(32));
  readonly #beat = new Float64Array(new ArrayBuffer(48));
  #open = true;

  constructor(fd: number) {
    this.#address = check("mapping the lease's memory", native().rfaas_lease_map(fd)) as Pointer;
  }

  /** Tells the processes that wait on the lease that it is over. The first reason stays. `reason` is one of `END`. */
  end(reason: number, detail: number): void {
    if (this.#open) native().rfaas_lease_end(this.#address, reason, detail);
  }

  /** The counts of the first `workers` workers. Written by the host: it can be any numbers. */
  counts(workers: number): WorkerCounts {
    if (!this.#open) throw new RangeError("the lease's memory is closed");
    native().rfaas_lease_usage(this.#address, workers, this.#counts);
    const [calls, bytes, polledNs, running] = this.#counts as unknown as [
      number,
      number,
      number,
      number,
    ];
    return { calls, bytes, polledNs, running };
  }

  /** Asks the host of `workers` workers whether it is there, and does not wait for the answer; without `ask`, what it has answered so far. */
  beat(workers: number, ask: boolean): HostBeat {
    if (!this.#open) throw new RangeError("the lease's memory is closed");
    native().rfaas_lease_beat(this.#address, workers, ask ? 1 : 0, this.#beat);
    const [asked, answered, beats, active, moved, running] = this.#beat as unknown as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    return { beats: beats !== 0, answered: asked === answered, active, running, moved };
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    native().rfaas_lease_unmap(this.#address);
  }
}

/**
 * A mapped region. Lent buffers become zero-length on {@link close}, so a late access is an error and no fault.
 *
 * The program can detach a lent buffer: its bytes then belong to another buffer, which the region cannot find. When such a region is
 * closed, empty anonymous memory takes its addresses, so that a late access faults nothing.
 */
export class Region {
  /** The native object, for other threads of this process and for `ffi/` itself. */
  readonly handle: number;
  readonly arenaBytes: number;
  /** All of it, with the control pages. */
  readonly bytes: number;
  readonly #start: number;
  readonly #owned: boolean;
  readonly #lent = new Set<ArrayBuffer>();
  #whole: ArrayBuffer | undefined;
  /** Bytes of it are in buffers that are not lent. */
  #escaped = false;
  #open = true;

  private constructor(handle: number, owned: boolean) {
    this.handle = handle;
    this.#owned = owned;
    this.#start = native().rfaas_region_arena(handle as Pointer);
    this.arenaBytes = native().rfaas_region_arena_bytes(handle as Pointer);
    this.bytes = native().rfaas_region_bytes(handle as Pointer);
  }

  /**
   * Maps the region behind a descriptor, which must be memory that cannot shrink, of the shape that the node told. Throws
   * `NativeError`.
   */
  static map(fd: number, workers: number, slots: number): Region {
    const handle = native().rfaas_region_map(fd, workers, slots);
    return new Region(check("mapping the lease's memory", handle), true);
  }

  /** A region that another thread of this process mapped, and closes. */
  static at(handle: number): Region {
    return new Region(handle, false);
  }

  /**
   * A view of `length` bytes of the arena with a buffer of its own: nothing else can be reached through it, and detaching it
   * detaches nothing else. {@link close} does not detach it. Takes 160 ns.
   */
  payload(offset: number, length: number): Uint8Array<ArrayBuffer> {
    if (offset + length > this.arenaBytes) throw new RangeError("outside the lease's memory");
    return viewAt(this.#start as Pointer, offset, length);
  }

  /** All of the arena as one buffer, made anew when the program has transferred it. */
  get arena(): ArrayBuffer {
    const whole = this.#whole;
    if (whole !== undefined && !(whole.detached && this.#open)) return whole;
    if (whole !== undefined) this.recall(whole);
    return (this.#whole = this.lend(0, this.arenaBytes));
  }

  /** A part of the arena as a buffer of its own. */
  lend(offset: number, bytes: number): ArrayBuffer {
    if (!this.#open || offset < 0 || offset + bytes > this.arenaBytes)
      throw new RangeError(`${bytes} bytes at ${offset} are not within the lease's memory`);
    const start = this.#start as Pointer;
    const buffer = bytes === 0 ? new ArrayBuffer(0) : toArrayBuffer(start, offset, bytes);
    this.#lent.add(buffer);
    return buffer;
  }

  /** Makes a lent buffer empty. Returns whether no other buffer reaches its bytes: they were not transferred, nor are in use. */
  recall(buffer: ArrayBuffer): boolean {
    if (!this.#lent.delete(buffer)) return true;
    const transferred = buffer.detached;
    // The engine pins what it reads on other threads, and then copies instead of detaching.
    if (!transferred) buffer.transfer(0);
    const alone = !transferred && buffer.detached;
    if (!alone) this.#escaped = true;
    return alone;
  }

  /**
   * As the client, where both sides map the arena: gives its first `endBytes` bytes their pages, about `budgetBytes` now, or as much as
   * takes some microseconds. Returns whether all have them, or are to wait for their first touch since there is no memory.
   */
  handOut(endBytes: number, budgetBytes: number): boolean {
    return native().rfaas_hand_out(this.handle as Pointer, endBytes, budgetBytes) !== 0;
  }

  /** A view of a worker's error records, one of `LAYOUT.errorBytes` per slot. */
  errorRecords(worker: number, slots: number): Uint8Array {
    const start = native().rfaas_region_errors(this.handle as Pointer, worker);
    check("finding a worker's error records", start);
    return new Uint8Array(toArrayBuffer(start as Pointer, 0, slots * LAYOUT.errorBytes));
  }

  /** `[reason, detail]`, `reason` being one of `END`. */
  ended(): [reason: number, detail: number] {
    const handle = this.handle as Pointer;
    return [native().rfaas_region_ended(handle), native().rfaas_region_end_detail(handle)];
  }

  /**
   * The lease is over: maps the next one's memory, of the same shape, at the same addresses. What was lent stays. Throws `NativeError`;
   * then empty memory has the addresses, so that a late access faults nothing.
   */
  refill(fd: number): void {
    check("mapping the lease's memory", native().rfaas_region_refill(this.handle as Pointer, fd));
  }

  /** Detaches what was lent, then unmaps. No endpoint may be open on the region. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const buffer of [...this.#lent]) this.recall(buffer);
    if (this.#owned) native().rfaas_region_unmap(this.handle as Pointer, this.#escaped ? 1 : 0);
  }
}

/** The engine views no nothing at an address. A buffer of WebAssembly's cannot be detached, so one serves for all. */
const NOTHING = new Uint8Array(
  new WebAssembly.Memory({ initial: 0, maximum: 0 }).buffer as ArrayBuffer,
);

/** Views memory that is not freed, with a buffer of its own. */
export function viewAt(start: Pointer, offset: number, length: number): Uint8Array<ArrayBuffer> {
  return length === 0 ? NOTHING : new Uint8Array(toArrayBuffer(start, offset, length));
}

/**
 * Lets this thread's garbage collector expect that so many bytes of memory are viewed soon. The engine counts viewed memory as its
 * own, and would otherwise collect, for milliseconds, at the first view of a lease's memory.
 */
export function expectMemory(bytes: number): void {
  const start = check("reserving address space", native().rfaas_reserve(bytes));
  const space = toArrayBuffer(start as Pointer, 0, bytes);
  Bun.gc(true);
  space.transfer(0);
  native().rfaas_unreserve(start as Pointer, bytes);
}
