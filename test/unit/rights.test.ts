/** What a node needs of root's rights where its hosts become other users. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { lackingRights } from "../../src/executor/sandbox/process/rights.ts";

const ROOT = join(import.meta.dir, "../..");

test("rights are those that the kernel says a process has", () => {
  expect(lackingRights("Name:\tx\nCapEff:\t000001ffffffffff\n")).toEqual([]);
  expect(lackingRights("CapEff:\t000001ffff7fffdf\n")).toEqual(["KILL", "SYS_NICE"]);
  expect(lackingRights("CapEff:\t0000000000000000\n")).toHaveLength(7);
});

const canDrop = process.getuid!() === 0 && Bun.which("setpriv") !== null;
if (!canDrop) console.error("SKIPPED: root without some rights: it needs root, and setpriv");
test.skipIf(!canDrop)("root without some of them is told which those are", () => {
  const asks =
    'import { byProcess } from "./src/executor/sandbox/process/driver.ts"; console.log(byProcess.whyNoUsers())';
  const without = ["--inh-caps", "-all", "--bounding-set", "-sys_ptrace,-kill"];
  const child = Bun.spawnSync(["setpriv", ...without, process.execPath, "-e", asks], { cwd: ROOT });
  expect(child.stdout.toString()).toContain("lacks the capabilities KILL, SYS_PTRACE");
});
