/**
 * A fabric is added to the shim by a folder and a line of its registry, and nothing of the core changes: the one in `overtaking/` is
 * added to a copy of the sources here, and passes what every fabric must, although its messages come in any order.
 */
import { afterAll, expect, test } from "bun:test";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compileShim } from "../../ffi/build.ts";
import { ROOT } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

test("a third fabric, which does not keep the order of messages, needs a folder and one line", async () => {
  const sources = scratch.join("shim");
  cpSync(join(ROOT, "ffi", "shim"), sources, { recursive: true });
  cpSync(join(import.meta.dir, "overtaking"), join(sources, "overtaking"), { recursive: true });
  const registry = join(sources, "core", "fabrics.c");
  const before = readFileSync(registry, "utf8");
  const after = before.replace("  X(verbs)\n", "  X(verbs) \\\n  X(overtaking)\n");
  expect(after.split("\n").length).toBe(before.split("\n").length + 1);
  writeFileSync(registry, after);
  const shim = scratch.join("librfaas.so");
  compileShim(sources, shim);

  // The fabric has no wake-ups that could be lost.
  const all = ["-t", "^(?!.*no wake-up is lost)", "./test/fabric/overtaking/conformance.ts"];
  const child = Bun.spawn([process.execPath, "test", "--timeout", "60000", ...all], {
    cwd: ROOT,
    env: { ...process.env, RFAAS_SHIM: shim },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, exitCode] = await Promise.all([child.stderr.text(), child.exited]);
  const failed = output.split("\n").filter((line) => line.startsWith("(fail)"));
  expect(failed).toEqual([]);
  expect([exitCode, output.match(/^ *\d+ fail$/m)?.[0].trim()]).toEqual([0, "0 fail"]);
  expect(Number(/^ *(\d+) pass$/m.exec(output)?.[1])).toBeGreaterThan(40);
}, 300_000);
