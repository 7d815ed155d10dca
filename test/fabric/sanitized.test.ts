/** The shim does nothing undefined, reaches no memory that is not its own, and keeps none, while the suites of fabrics call it in every way. */
import { afterAll, describe, expect, test } from "bun:test";
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  FINDING,
  LOOK_FOR_LEAKS,
  NO_LEAKS,
  SHIM,
  WITHOUT_LONG_TESTS,
  compileSanitized,
  lacksSanitizers,
  sanitizedBy,
} from "../support/sanitizers.ts";
import { Scratch } from "../support/scratch.ts";
import { lacksProvider } from "./ofi-providers.ts";

const ROOT = join(import.meta.dir, "..", "..");
const SUITES = ["shm", "tcp", "tcp-encrypted", "tcp-hostile", "tcp-encrypted-hostile"];
const OVER_LIBFABRIC = ["ofi", "ofi-hostile", "ofi-memory"];
const LIMIT_MS = 300_000;

if (lacksSanitizers !== undefined)
  console.error(`SKIPPED: no suite of fabrics was run with sanitizers: ${lacksSanitizers}`);
const lacksLibfabric = lacksProvider("tcp");
if (lacksLibfabric !== undefined)
  console.error(`SKIPPED: no suite of libfabric was run with sanitizers: ${lacksLibfabric}`);

/** Runs a suite with a shim. Resolves to what it has printed, and how it has ended. */
async function suite(shim: string, name: string, ...more: string[]) {
  const file = join(import.meta.dir, `${name}.test.ts`);
  const words = ["test", ...LOOK_FOR_LEAKS, "--timeout", "60000", ...more, file];
  const child = Bun.spawn([process.execPath, ...words], {
    cwd: ROOT,
    env: { ...process.env, ...sanitizedBy(shim) },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, text: out + err };
}

describe.skipIf(lacksSanitizers !== undefined)(
  "with sanitizers of addresses, of undefined behaviour and of leaks",
  () => {
    const scratch = new Scratch();
    const shim = scratch.join("librfaas.so");
    afterAll(() => scratch[Symbol.dispose]());

    async function passes(name: string, ...more: string[]): Promise<void> {
      // In the first test, whose limit is longer than that of what comes before all.
      if (!existsSync(shim)) compileSanitized(SHIM, shim);
      const { exitCode, text } = await suite(shim, name, ...more);
      expect(text).not.toMatch(FINDING);
      expect(text).toMatch(/^ *[1-9]\d* pass$/m);
      expect(exitCode, text.slice(-4000)).toBe(0);
      expect(text).toContain(NO_LEAKS);
    }

    test.each(SUITES)(
      "the suite of %s passes, and nothing is found",
      (name) => passes(name),
      LIMIT_MS,
    );

    test.skipIf(lacksLibfabric !== undefined).each(OVER_LIBFABRIC)(
      "the suite of %s passes, and nothing is found",
      (name) => passes(name, ...WITHOUT_LONG_TESTS),
      LIMIT_MS,
    );

    /** Runs tests of a suite with a shim one of whose files has `from` replaced. Resolves to what they have printed, and how they have ended. */
    async function planted(
      { file, from, to }: { file: string; from: string; to: string },
      name: string,
      tests: string,
    ) {
      const copy = scratch.join(`planted-${name}`);
      cpSync(SHIM, copy, { recursive: true });
      const path = join(copy, file);
      const source = readFileSync(path, "utf8");
      expect(source).toContain(from);
      writeFileSync(path, source.replace(from, to));
      const faulty = scratch.join(`planted-${name}.so`);
      compileSanitized(copy, faulty);
      return suite(faulty, name, "--test-name-pattern", tests);
    }

    test(
      "a client whose slots are one too few is found at once",
      async () => {
        const room = "calloc(1, sizeof *c + slots * sizeof(rfaas_client_slot))";
        const fault = {
          ...{ file: "core/client.c", from: room },
          to: room.replace("slots *", "(slots - 1) *"),
        };
        const { exitCode, text } = await planted(fault, "shm", "many calls at once");
        expect(text).toContain("ERROR: AddressSanitizer: heap-buffer-overflow");
        expect(text).toContain("core/client.c");
        expect(exitCode).not.toBe(0);
      },
      LIMIT_MS,
    );

    test(
      "a link that is not given back is found at the end",
      async () => {
        const fault = { file: "tcp/link.c", from: "  free(link);\n", to: "" };
        const { text } = await planted(fault, "tcp", "one endpoint");
        expect(text).toContain("ERROR: LeakSanitizer: detected memory leaks");
        expect(text).toContain("tcp/link.c");
        expect(text).not.toContain(NO_LEAKS);
      },
      LIMIT_MS,
    );
  },
);
