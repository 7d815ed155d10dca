/**
 * A fabric is added to the shim by a folder and a line of its registry, and nothing of the core changes: the one in `overtaking/` is
 * added to a copy of the sources here, and passes what every fabric must, although its messages come in any order.
 */
import { afterAll, expect, test } from "bun:test";
import { ROOT } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { CONFORMANCE, overtakingShim } from "./overtaking/shim.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

test("a third fabric, which does not keep the order of messages, needs a folder and one line", async () => {
  const { shim, lines } = overtakingShim(scratch);
  expect(lines.after).toBe(lines.before + 1);
  const child = Bun.spawn([process.execPath, "test", "--timeout", "60000", ...CONFORMANCE], {
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
