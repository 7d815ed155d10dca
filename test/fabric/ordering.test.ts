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
/** It does not see barriers that the kernel makes for both sides, so each makes its own. */
const DETECT = [
  ...["-std=gnu11", "-O1", "-g", "-pthread", "-fsanitize=thread", "-Wno-tsan"],
  "-DRFAAS_FULL_FENCES",
];
/** What orders calls over shared memory; all else is compiled once. */
const ORDERING = ["shm/calls.c", "shm/sleep.c"];

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

const succeeds = (...command: string[]): boolean => Bun.spawnSync(command).success;
const empty = scratch.file("empty.c", "int main(void) { return 0; }\n");
const detects = succeeds(compiler()!, ...DETECT, "-o", scratch.join("empty"), empty);
if (!detects) console.error("SKIPPED: races in the shim: the compiler has no -fsanitize=thread");

/** The detector has places of its own for memory, which the kernel may have taken. */
const FIXED = succeeds("setarch", "-R", "true") ? ["setarch", "-R"] : [];

function compile(sources: string, ...words: string[]): void {
  const first = ["-I", sources, "-include", join(sources, "core", "glibc.h")];
  const { success, stderr } = Bun.spawnSync([compiler()!, ...DETECT, ...first, ...words]);
  if (!success) throw new Error(stderr.toString());
}

let others: string[] | undefined;
const compileOthers = (): string[] =>
  unitsOf(SHIM)
    .filter((unit) => !ORDERING.some((name) => unit.endsWith(name)))
    .map((unit, i) => {
      const object = scratch.join(`${i}.o`);
      compile(SHIM, "-c", "-o", object, unit);
      return object;
    });

/** Makes calls with the shim whose sources lie in a folder. Returns the functions that race, each once, or what is not so. */
function races(sources: string): string[] {
  const program = scratch.join("calls");
  others ??= compileOthers();
  const own = ORDERING.map((name) => join(sources, name));
  compile(sources, "-o", program, CALLS, ...own, ...others, "-ldl");
  const { stderr, exitCode } = Bun.spawnSync([...FIXED, program]);
  const said = stderr.toString();
  const found = [...said.matchAll(/^SUMMARY: ThreadSanitizer: data race .* in (\w+)$/gm)];
  if (exitCode !== 0 && found.length === 0) throw new Error(said);
  return [...new Set(found.map(([, name]) => name!))].toSorted();
}

/** The shim with every match of a pattern in a file replaced; there must be `count`. */
function changed(
  changes: readonly (readonly [file: string, pattern: RegExp, by: string])[],
  count: number,
): string {
  const sources = scratch.join(`shim-${Math.random().toString(36).slice(2)}`);
  cpSync(SHIM, sources, { recursive: true });
  let found = 0;
  for (const [name, pattern, by] of changes) {
    const file = join(sources, name);
    const text = readFileSync(file, "utf8");
    found += [...text.matchAll(pattern)].length;
    writeFileSync(file, text.replace(pattern, by));
  }
  expect(found).toBe(count);
  return sources;
}

describe.skipIf(!detects)("calls over shared memory", () => {
  test(
    "race nowhere, and lose no wake-up: hot, warm, adaptive and parked, abandoned ones and those of a worker that dies, while the host looks on",
    () => {
      expect(races(SHIM)).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    "race where requests and answers are published without order, and the detector says so",
    () => {
      const store = /(__atomic_store_n\((?:&shared->)?word, .*)__ATOMIC_(?:RELEASE|SEQ_CST)/g;
      const relaxed = "$1__ATOMIC_RELAXED";
      const racing = races(
        changed(
          [
            ["shm/shm.c", store, relaxed],
            ["shm/sleep.h", store, relaxed],
          ],
          3,
        ),
      );
      expect(racing).toContain("serve");
      expect(racing).toContain("finish");
    },
    LIMIT_MS,
  );

  test.each<[string, string, RegExp]>([
    ["a client looks for its answer", "shm/shm.c", /(response->sequence, )__ATOMIC_ACQUIRE/g],
    ["a worker looks for a request", "shm/shm.c", /(request\.word, )__ATOMIC_ACQUIRE/g],
    [
      "the end of a worker is told",
      "core/worker.c",
      /(&w->page->ended, reason, )__ATOMIC_RELEASE/g,
    ],
  ])(
    "race where %s without order",
    (_, file, order) => {
      expect(races(changed([[file, order, "$1__ATOMIC_RELAXED"]], 1))).not.toEqual([]);
    },
    LIMIT_MS,
  );
});
