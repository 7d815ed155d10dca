/** Files of keys and certificates: whole, or not there. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, chownSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { bunCommand, bunEnvironment } from "../../src/base/process.ts";
import { whyOpenToOthers } from "../../src/trust/files.ts";
import { Scratch } from "../support/scratch.ts";

const FILES = join(import.meta.dir, "../../src/trust/files.ts");
/** The limit counts in these. */
const BLOCK_BYTES = 1024;

let scratch: Scratch;
beforeEach(() => void (scratch = new Scratch()));
afterEach(() => scratch[Symbol.dispose]());

/** Writes a file of two blocks in a process that may write files of one: what a full disk does, a limit does, too. */
function writeTooMuch(call: string): string {
  const program = `
    import { publishOnce, replaceFile } from ${JSON.stringify(FILES)};
    process.on("SIGXFSZ", () => {});
    const path = ${JSON.stringify(scratch.join("key.pem"))};
    const text = "k".repeat(${2 * BLOCK_BYTES});
    try { ${call}(path, text, 0o600); console.log("done"); } catch (error) { console.log(error.code, error.message); }`;
  const command = ["bash", "-c", 'ulimit -f 1; exec "$@"', "-", ...bunCommand(["-e", program])];
  return Bun.spawnSync(command, { env: bunEnvironment() }).stdout.toString();
}

test("a folder into which others can put files is told, with what to do", () => {
  expect(whyOpenToOthers(scratch.path)).toBeUndefined();
  chmodSync(scratch.path, 0o1777);
  expect(whyOpenToOthers(scratch.path)).toBe(
    `other users may write to the state directory ${scratch.path} (mode 777), and put other keys there; run: chmod 700 ${scratch.path}`,
  );
  chmodSync(scratch.path, 0o700);
  if (process.getuid!() !== 0) {
    console.error("SKIPPED: a folder of another user: only root can make one");
    return;
  }
  chownSync(scratch.path, 12345, 0);
  expect(whyOpenToOthers(scratch.path)).toContain("belongs to another user (uid 12345)");
});

for (const call of ["publishOnce", "replaceFile"])
  test(`a file that does not fit on the disk is not there in part after ${call}`, () => {
    expect(writeTooMuch(call)).toStartWith(`RFAAS_ENVIRONMENT ${scratch.join("key.pem")}`);
    expect(readdirSync(scratch.path)).toEqual([]);
  });
