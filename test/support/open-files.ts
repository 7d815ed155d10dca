/** Files that this process has open. */
import { readdirSync, readlinkSync } from "node:fs";
import { until } from "./until.ts";

/** Waits until none of a folder is open: a journal closes its file when the disk has it. */
export async function closedFilesOf(folder: string): Promise<void> {
  await until(() => !openFiles().some((path) => path.startsWith(folder)), "files are closed");
}

function openFiles(): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      // It was the one that has read the list.
      return [];
    }
  });
}
