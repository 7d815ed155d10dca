/**
 * What a host has of files of its own: in memory, where its room has mounts, and in a scratch folder of the node's disk, where it has none. `heap`
 * bounds both.
 */
import { type StatsFs, lstatSync, statfsSync } from "node:fs";
import { FolderLook } from "../../../ffi/children.ts";

/** What a file costs the kernel, or the disk, besides its pages or blocks: some 1 KiB, and its name. */
const BYTES_PER_FILE = 2048;
/** So long the agent waits for a look at a folder: most hold a few files. */
const WAIT_US = 300;
/** A pause is so many times as long as the look before it. */
const PAUSE_PER_LOOK = 10;

/** One host's files. */
export interface HostFiles {
  /** Of all file systems in memory that it has of its own. */
  memoryBytes(): number;
  /** In its folder on the disk, as far as looks have got; these stop at `mostBytes`. 0 where it has none. */
  diskBytes(mostBytes: number): number;
  /** The host is gone. */
  close(): void;
}

export const NO_FILES: HostFiles = { memoryBytes: () => 0, diskBytes: () => 0, close() {} };

/** Where a host has its files. */
export interface FilePlaces {
  /** File systems in memory that it has of its own, as it sees them. */
  inMemory?: readonly string[] | undefined;
  /** A folder of the node's disk, as the agent sees it. */
  onDisk?: string | undefined;
}

/** Of a process. A place in memory that the agent has under the same name is no host's own, and does not count. */
export function filesOf(pid: number, { inMemory = [], onDisk }: FilePlaces): HostFiles {
  let own: readonly string[] | undefined;
  const disk = onDisk === undefined ? undefined : new DiskFiles(pid, onDisk);
  return {
    memoryBytes() {
      own ??= ownPlaces(pid, inMemory);
      return own.reduce((sum, place) => sum + bytesIn(place), 0);
    },
    diskBytes: (mostBytes) => disk?.bytes(mostBytes) ?? 0,
    close: () => disk?.close(),
  };
}

/** As the agent reaches them, each file system once. */
function ownPlaces(pid: number, places: readonly string[]): string[] {
  const byDevice = new Map<number, string>();
  for (const place of places) {
    const path = `/proc/${pid}/root${place}`;
    const device = deviceOf(path);
    if (device !== undefined && device !== deviceOf(place) && !byDevice.has(device))
      byDevice.set(device, path);
  }
  return [...byDevice.values()];
}

function deviceOf(path: string): number | undefined {
  try {
    const stat = lstatSync(path);
    return stat.isDirectory() ? stat.dev : undefined;
  } catch {
    // It is not there, or may not be looked at: a process is another user's.
    return undefined;
  }
}

function bytesIn(place: string): number {
  try {
    const { bsize, blocks, bfree, files, ffree }: StatsFs = statfsSync(place);
    return (blocks - bfree) * bsize + (files - ffree) * BYTES_PER_FILE;
  } catch {
    // Its host is gone.
    return 0;
  }
}

/** The looks at one folder, of which one goes on at a time. */
class DiskFiles {
  readonly #pid: number;
  readonly #folder: string;
  #look: FolderLook | undefined;
  #bytes = 0;
  #nextMs = 0;

  constructor(pid: number, folder: string) {
    this.#pid = pid;
    this.#folder = folder;
  }

  bytes(mostBytes: number): number {
    const nowMs = performance.now();
    const begins = !this.#look && nowMs >= this.#nextMs;
    if (begins) this.#look = new FolderLook(this.#folder, this.#pid, BYTES_PER_FILE, mostBytes);
    const found = this.#look?.take(begins ? WAIT_US : 0);
    if (!found) return this.#bytes;
    this.#look = undefined;
    this.#nextMs = performance.now() + PAUSE_PER_LOOK * found.tookMs;
    return (this.#bytes = found.bytes);
  }

  close(): void {
    this.#look?.abandon();
  }
}
