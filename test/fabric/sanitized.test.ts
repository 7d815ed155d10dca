/** The shim does nothing undefined, and reaches no memory that is not its own, while the suites of fabrics call it in every way. */
import { afterAll, describe, expect, test } from "bun:test";
import { cpSync, existsSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compileShim, compiler } from "../../ffi/build.ts";
import { Scratch } from "../support/scratch.ts";

const ROOT = join(import.meta.dir, "..", "..");
const SHIM = join(ROOT, "ffi", "shim");
const SANITIZED = [
  ...["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-O1", "-g"],
  "-fno-omit-frame-pointer",
];
const SUITES = ["shm", "tcp", "tcp-encrypted", "tcp-hostile", "tcp-encrypted-hostile"];
const LIMIT_MS = 300_000;

/** It must be loaded first, before the runtime, which does not know of it. */
const library = Bun.spawnSync([compiler()!, "-print-file-name=libasan.so"])
  .stdout.toString()
  .trim();
const lacks = !existsSync(library);
if (lacks)
  console.error(
    "SKIPPED: no suite of fabrics was run with sanitizers: libasan is missing; apt-get install gcc",
  );

/** Runs the suites with a shim. Resolves to what they have printed, and how they have ended. */
async function suites(shim: string, names: readonly string[], ...more: string[]) {
  const files = names.map((name) => join(import.meta.dir, `${name}.test.ts`));
  const child = Bun.spawn([process.execPath, "test", "--timeout", "60000", ...more, ...files], {
    cwd: ROOT,
    env: {
      ...process.env,
      RFAAS_SHIM: shim,
      LD_PRELOAD: realpathSync(library),
      // The runtime has a handler of its own, and gives back at its end what it has taken.
      ASAN_OPTIONS: "detect_leaks=0:handle_segv=0:allow_user_segv_handler=1",
      UBSAN_OPTIONS: "print_stacktrace=1",
    },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, text: out + err };
}

describe.skipIf(lacks)("with sanitizers of addresses and of undefined behaviour", () => {
  const scratch = new Scratch();
  const shim = scratch.join("librfaas.so");
  afterAll(() => scratch[Symbol.dispose]());

  test.each(SUITES)(
    "the suite of %s passes, and nothing is found",
    async (name) => {
      // In the first test, whose limit is longer than that of what comes before all.
      if (!existsSync(shim)) compileShim(SHIM, shim, process.arch, [], SANITIZED);
      const { exitCode, text } = await suites(shim, [name]);
      expect(text).not.toMatch(/runtime error:|ERROR: AddressSanitizer/);
      expect(text).toMatch(/^ *[1-9]\d* pass$/m);
      expect(exitCode, text.slice(-4000)).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "a client whose slots are one too few is found at once",
    async () => {
      const copy = scratch.join("planted");
      cpSync(SHIM, copy, { recursive: true });
      const client = join(copy, "core", "client.c");
      const room = "calloc(1, sizeof *c + slots * sizeof(rfaas_client_slot))";
      const source = readFileSync(client, "utf8");
      expect(source).toContain(room);
      writeFileSync(client, source.replace(room, room.replace("slots *", "(slots - 1) *")));
      const planted = scratch.join("planted.so");
      compileShim(copy, planted, process.arch, [], SANITIZED);
      const { exitCode, text } = await suites(planted, ["shm"], "-t", "many calls at once");
      expect(text).toContain("ERROR: AddressSanitizer: heap-buffer-overflow");
      expect(text).toContain("core/client.c");
      expect(exitCode).not.toBe(0);
    },
    LIMIT_MS,
  );
});
