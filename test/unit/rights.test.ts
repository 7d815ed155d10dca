/** What a node needs of root's rights where its hosts become other users. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { lackingRights } from "../../src/executor/sandbox/users/rights.ts";

/** Of no account. */
const FREE = 1_879_048_192;
const ROOT = join(import.meta.dir, "../..");

test("rights are those that the kernel says a process has, and a node needs some whichever its sandbox", () => {
  const all = ["SETGID", "SETUID", "SYS_ADMIN"] as const;
  expect(lackingRights(all, "Name:\tx\nCapEff:\t000001ffffffffff\n")).toEqual([]);
  expect(lackingRights(all, "CapEff:\t000001ffff7fffdf\n")).toEqual(["KILL", "SYS_NICE"]);
  expect(lackingRights(all, "CapEff:\t0000000000000000\n")).toHaveLength(7);
  const agents = ["CHOWN", "KILL", "SYS_PTRACE", "SYS_NICE"];
  expect(lackingRights([], "CapEff:\t0000000000000000\n")).toEqual(agents as never);
});

const canDrop = process.getuid!() === 0 && Bun.which("setpriv") !== null;
if (!canDrop) console.error("SKIPPED: root without some rights: it needs root, and setpriv");
test.skipIf(!canDrop).each(["process", "bwrap", "podman", "docker"])(
  "root without some of them is told which those are before it serves with %s",
  (name) => {
    const asks = `import { openUsers } from "./src/commands/serving/users.ts";
      import { driverNamed } from "./src/executor/sandbox/registry.ts";
      openUsers({ from: ${FREE}, to: ${FREE} }, driverNamed("${name}"));`;
    const without = ["--inh-caps", "-all", "--bounding-set", "-sys_ptrace,-kill"];
    const child = Bun.spawnSync(["setpriv", ...without, process.execPath, "-e", asks], {
      cwd: ROOT,
    });
    expect(child.stderr.toString()).toContain("lacks the capabilities KILL, SYS_PTRACE");
  },
);
