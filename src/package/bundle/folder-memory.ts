/**
 * Whether the runtime's resolver of this process may have seen a folder as it was before: it reads each once, and remembers what
 * was and what was not there. Asking it for what came later fails, and lets later imports of the program fail too.
 */
import { statSync } from "node:fs";
import { dirname, join } from "node:path";

/** Entries of a folder, or of one above it, that decide how a name resolves. */
const SETTINGS = ["node_modules", "package.json", "tsconfig.json"];

const startedMs = performance.timeOrigin;

export class FolderMemory {
  readonly #seen = new Map<string, string>();

  /** Whether what `folder` and those above it say is what the resolver knows, or will read now. */
  isFresh(folder: string): boolean {
    if (!this.#isAsBefore(folder, born(folder) < startedMs)) return false;
    for (let at = folder; ; at = dirname(at)) {
      const isOld = born(at) < startedMs;
      for (const name of SETTINGS) if (!this.#isAsBefore(join(at, name), isOld)) return false;
      if (dirname(at) === at) return true;
    }
  }

  /** `isOld`: the resolver may have looked there before this was asked. */
  #isAsBefore(path: string, isOld: boolean): boolean {
    const found = statSync(path, { throwIfNoEntry: false });
    const stamp = found ? `${found.ino} ${found.mtimeMs}` : "";
    const before = this.#seen.get(path);
    if (before !== undefined) return before === stamp;
    this.#seen.set(path, stamp);
    return !(isOld && found && found.mtimeMs > startedMs);
  }
}

function born(folder: string): number {
  return statSync(folder, { throwIfNoEntry: false })?.birthtimeMs ?? 0;
}
