import { expect, test } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { HostProcess } from "../../src/executor/agent/host-process.ts";
import { WatchLimiter } from "../../src/executor/limits/watch.ts";
import { readerOf } from "../../src/executor/output/bounded-log.ts";
import { none } from "../../src/executor/sandbox/none/driver.ts";
import { Sandbox } from "../../src/executor/sandbox/sandbox.ts";
import { RFAAS } from "../support/executable.ts";

/** Page faults are counted, not timed: their number does not depend on how busy the machine is. */
const MINOR_FAULTS = 7;
const CHILDREN_MINOR_FAULTS = 8;

/** A field of `/proc/PID/stat`, counted from behind the name of the program. */
function statField(stat: string, field: number): number {
  return Number(stat.slice(stat.lastIndexOf(") ") + 2).split(" ")[field]);
}

/** Of a shell's child, as the kernel has counted them once it has ended; the fewest of some tries. */
function faultsOf(...command: string[]): number {
  const script = '"$0" "$@" >/dev/null; exec cat /proc/$$/stat';
  const tries = Array.from({ length: 3 }, () => {
    const { stdout, success } = Bun.spawnSync(["sh", "-c", script, ...command]);
    expect(success).toBe(true);
    return statField(stdout.toString(), CHILDREN_MINOR_FAULTS);
  });
  return Math.min(...tries);
}

const sandbox = new Sandbox({ driver: none, folders: [] });
const WANTED = {
  threads: 1,
  fabrics: [],
  sandbox,
  terms: sandbox.closed,
  limiter: new WatchLimiter(),
  reader: readerOf(() => {}),
};

const bare = faultsOf(process.execPath, "-e", "0");

test("rfaas --version takes hardly more page faults than Bun with nothing to do", () => {
  expect(faultsOf(RFAAS, "--version")).toBeLessThan(1.2 * bare);
});

test("a host with one thread takes few page faults until it waits for a lease", async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  const host = HostProcess.spawn({ ...WANTED, waits: true });
  try {
    await host.ready;
    const faults = statField(readFileSync(`/proc/${host.pid}/stat`, "utf8"), MINOR_FAULTS);
    expect(faults).toBeGreaterThan(bare);
    expect(faults).toBeLessThan(3.75 * bare);
  } finally {
    host.kill();
    await host.exited;
  }
});

/** What a host with one thread has open and mapped when it is ready. */
async function heldBy(waits: boolean): Promise<{ descriptors: number; leases: string[] }> {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  const host = HostProcess.spawn({ ...WANTED, waits });
  try {
    await host.ready;
    const mapped = readFileSync(`/proc/${host.pid}/maps`, "utf8").split("\n");
    return {
      descriptors: readdirSync(`/proc/${host.pid}/fd`).length,
      leases: mapped.filter((line) => line.includes("rfaas-lease")),
    };
  } finally {
    host.kill();
    await host.exited;
  }
}

test("a host that waits holds nothing of the lease that it has tried", async () => {
  const wanted = await heldBy(false);
  expect(await heldBy(true)).toEqual({ descriptors: wanted.descriptors, leases: [] });
});
