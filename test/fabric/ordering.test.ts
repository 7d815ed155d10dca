/**
 * What one side of a channel writes is seen by the other in the order that the shim's atomic operations make, and not by that of
 * x86-64, which gives more than other processors do: a race detector looks at calls between threads.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compiler, unitsOf } from "../../ffi/build.ts";
import { ROOT } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

const LIMIT_MS = 300_000;
const SHIM = join(ROOT, "ffi", "shim");
const CALLS = join(import.meta.dir, "ordering", "calls.c");
const DETECT = ["-std=gnu11", "-O1", "-g", "-pthread", "-fsanitize=thread"];

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

const succeeds = (...command: string[]): boolean => Bun.spawnSync(command).success;
const empty = scratch.file("empty.c", "int main(void) { return 0; }\n");
const detects = succeeds(compiler()!, ...DETECT, "-o", scratch.join("empty"), empty);
if (!detects) console.error("SKIPPED: races in the shim: the compiler has no -fsanitize=thread");

/** The detector has places of its own for memory, which the kernel may have taken. */
const FIXED = succeeds("setarch", "-R", "true") ? ["setarch", "-R"] : [];

/** Makes calls with the shim whose sources lie in a folder. Returns the functions that race, each once. */
function races(sources: string): string[] {
  const program = scratch.join("calls");
  const first = ["-I", sources, "-include", join(sources, "core", "glibc.h")];
  const built = Bun.spawnSync([
    compiler()!,
    ...DETECT,
    ...first,
    "-o",
    program,
    CALLS,
    ...unitsOf(sources),
  ]);
  if (!built.success) throw new Error(built.stderr.toString());
  const { stderr, exitCode } = Bun.spawnSync([...FIXED, program]);
  const said = stderr.toString();
  const found = [...said.matchAll(/^SUMMARY: ThreadSanitizer: data race .* in (\w+)$/gm)];
  if (exitCode !== 0 && found.length === 0) throw new Error(said);
  return [...new Set(found.map(([, name]) => name!))].toSorted();
}

describe.skipIf(!detects)("calls over shared memory", () => {
  test(
    "race nowhere: hot, warm and adaptive, one by one and many at once, while the host looks on",
    () => {
      expect(races(SHIM)).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    "race where requests and answers are published without order, and the detector says so",
    () => {
      const sources = scratch.join("shim");
      cpSync(SHIM, sources, { recursive: true });
      let found = 0;
      for (const name of ["shm.c", "sleep.h"]) {
        const file = join(sources, "shm", name);
        const after = readFileSync(file, "utf8").replace(
          /(__atomic_store_n\((?:&shared->)?word, .*)__ATOMIC_(?:RELEASE|SEQ_CST)/g,
          (_, store) => (found++, `${store}__ATOMIC_RELAXED`),
        );
        writeFileSync(file, after);
      }
      expect(found).toBe(3);
      const racing = races(sources);
      expect(racing).toContain("serve");
      expect(racing).toContain("finish");
    },
    LIMIT_MS,
  );
});
