/**
 * What a state directory and etcd had alike last, of each shared file, in a folder of the directory: a manager that was away knows by it
 * what has changed in the directory since, and what elsewhere.
 */
import { join } from "node:path";
import { readShared, writeShared } from "../shared-files.ts";

const FOLDER = "shared";

export class CommonTexts {
  readonly #folder: string;

  constructor(stateDir: string) {
    this.#folder = join(stateDir, FOLDER);
  }

  /** What it may have been: of several, the directory has the one that it has. Empty where they never had a common one. */
  of(name: string): string[] {
    try {
      const texts: unknown = JSON.parse(readShared(this.#folder, name));
      return Array.isArray(texts) && texts.every((text) => typeof text === "string") ? texts : [];
    } catch {
      return [];
    }
  }

  /** Several, before the directory's own changes from one to another. Throws {@link EnvironmentError}. */
  keep(name: string, texts: readonly string[]): void {
    writeShared(this.#folder, name, JSON.stringify(texts));
  }
}
