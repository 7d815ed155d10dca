/** A folder for one test, gone after it. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { removeTree } from "../../src/executor/packages/sealing.ts";

export class Scratch implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "rfaas-test-"));

  /** Writes a file and returns its path. */
  file(name: string, text: string | Uint8Array): string {
    const path = join(this.path, name);
    writeFileSync(path, text);
    return path;
  }

  join(name: string): string {
    return join(this.path, name);
  }

  [Symbol.dispose](): void {
    // A cache of packages may lie in it, whose folders cannot be written.
    removeTree(this.path);
  }
}
