/**
 * A lease's shared memory: control pages (rings, error records) and the arena that holds payloads.
 *
 * The node creates a region and gives its descriptor to the client and to the lease's host; each maps it. JavaScript only ever
 * sees the arena, as one `ArrayBuffer`; the control pages stay behind the shim.
 */
import { type Pointer, toArrayBuffer } from "bun:ffi";
import { NativeError, check } from "./errors.ts";
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

/** Creates the memory of a lease. Returns a descriptor that the caller closes. Throws {@link NativeError}. */
export function createRegion(shape: RegionShape): number {
  const { workers, slots, arenaBytes, polling, spinNs } = shape;
  return check(
    "creating the lease's memory",
    native().rfaas_region_create(workers, slots, arenaBytes, POLLING[polling], spinNs),
  );
}

/** The first page of a region: enough for an agent to say why a lease ended. */
export class LeasePage {
  readonly #address: number;
  #open = true;

  constructor(fd: number) {
    this.#address = mapRegion(fd, 1);
  }

  /** Tells whoever waits on the lease that it is over. The first reason stays. `reason` is one of `END`. */
  end(reason: number, detail: number): void {
    if (this.#open) native().rfaas_lease_end(this.#address, reason, detail);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    native().rfaas_region_unmap(this.#address, 1);
  }
}

/** A mapped region. Views of {@link arena} become zero-length on {@link close}, so a late access is an error and no fault. */
export class Region {
  /** Internal to `ffi/`. */
  readonly address: number;
  readonly arena: ArrayBuffer;
  readonly #owned: boolean;
  #open = true;

  private constructor(address: number, owned: boolean) {
    this.address = address;
    this.#owned = owned;
    const start = native().rfaas_region_arena(this.address);
    const bytes = native().rfaas_region_arena_bytes(this.address);
    this.arena = toArrayBuffer(start as Pointer, 0, bytes);
  }

  /** Maps the region behind a descriptor. Throws {@link NativeError}. */
  static map(fd: number): Region {
    return new Region(mapRegion(fd, 0), true);
  }

  /** A region that another thread of this process mapped, and closes. */
  static at(address: number): Region {
    return new Region(address, false);
  }

  /** A view of a worker's error records, one of `LAYOUT.errorBytes` per slot. */
  errorRecords(worker: number, slots: number): Uint8Array {
    const start = native().rfaas_region_errors(this.address, worker);
    return new Uint8Array(toArrayBuffer(start as Pointer, 0, slots * LAYOUT.errorBytes));
  }

  /** `[reason, detail]`, `reason` being one of `END`. */
  ended(): [reason: number, detail: number] {
    return [
      native().rfaas_lease_ended(this.address),
      native().rfaas_lease_end_detail(this.address),
    ];
  }

  /** Detaches every view, then unmaps. No endpoint may be open on the region. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.arena.transfer(0);
    if (this.#owned) native().rfaas_region_unmap(this.address, 0);
  }
}

function mapRegion(fd: number, headerOnly: 0 | 1): number {
  const address = native().rfaas_region_map(fd, headerOnly);
  if (address < 0) throw new NativeError("mapping the lease's memory", address);
  return address;
}
