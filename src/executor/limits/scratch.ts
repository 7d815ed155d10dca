/** What a host has of files in memory of its own: its scratch folder, and what its room has of the kind besides. */
import { type StatsFs, lstatSync, statfsSync } from "node:fs";

/** What a file costs the kernel besides its pages: some 1 KiB, and its name. */
const BYTES_PER_FILE = 2048;

/** The bytes of one host's files. */
export type FileBytes = () => number;

/**
 * Of a process whose room has file systems in memory at these paths, as it sees them. A place that the agent has under the same name is
 * no host's own, and does not count.
 */
export function filesInMemory(pid: number, places: readonly string[] = []): FileBytes {
  let own: readonly string[] | undefined;
  return () => {
    own ??= ownPlaces(pid, places);
    return own.reduce((sum, place) => sum + bytesIn(place), 0);
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
