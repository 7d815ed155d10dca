/** Whether a file is still what it was. */
import { statSync } from "node:fs";

/** Whether the file was written since, or is gone. */
export function changedAfter(path: string, atMs: number): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  return !found || found.mtimeMs > atMs;
}

/** Changes whenever the file does. */
export function stampOf(path: string): string {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found ? `${path}\0${found.mtimeNs}\0${found.size}\0${found.ino}` : `${path}\0`;
}
