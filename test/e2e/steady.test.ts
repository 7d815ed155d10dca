/** What holds over millions of calls and over seconds of idleness. */
import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { cpuTimeNs } from "../../bench/environment.ts";
import { invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { descendants, proportionalBytes, residentBytes } from "../support/processes.ts";

const GOOD = join(FUNCTIONS, "good.ts");
const MIB = 1 << 20;

process.env["RFAAS_EXECUTABLE"] = RFAAS;

describe("the steady state", () => {
  /** Collections that any process, client or worker, began between the marks, and how the client's heap grew. */
  async function collections(args: string[]): Promise<{ begun: number; grownBytes: number }> {
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, "steady-client.ts"), ...args],
      {
        env: { ...process.env, BUN_JSC_logGC: "1" },
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect(stderr).toContain("=== end");
    const between = stderr.slice(stderr.indexOf("=== begin"), stderr.indexOf("=== end"));
    return {
      begun: between.split("Requesting GC").length - 1,
      grownBytes: Number(stdout.split(" ")[0]),
    };
  }

  test("allocates nothing on either side in five million synchronous calls", async () => {
    expect(await collections([])).toEqual({ begun: 0, grownBytes: 0 });
  }, 60_000);

  test("would be caught if it did", async () => {
    expect((await collections(["--allocate"])).begun).toBeGreaterThan(0);
  }, 60_000);

  test("answers ten million calls on one lease, each checked, with flat memory", async () => {
    await using rf = await invoker();
    await using lease = await rf.allocate(GOOD, { polling: "hot" });
    const input = lease.input(Uint32Array, 2);
    const output = lease.output(Uint32Array, 2);
    let calls = 0;
    const run = (count: number): void => {
      for (let i = 0; i < count; i++) {
        calls++;
        input[0] = calls;
        input[1] = ~calls;
        const written = lease.invoke("echo", input, output);
        if (written !== 8 || output[0] !== calls || output[1] !== ~calls >>> 0)
          throw new Error(`call ${calls} wrote ${written} bytes: ${output}`);
      }
    };
    run(1_000_000);
    const before = { client: residentBytes(process.pid), host: residentBytes(lease.hostPid) };
    run(10_000_000);
    expect(residentBytes(lease.hostPid) - before.host).toBeLessThan(5 * MIB);
    expect(residentBytes(process.pid) - before.client).toBeLessThan(5 * MIB);
    expect(calls).toBe(11_000_000);
  }, 120_000);
});

describe("an idle node", () => {
  test("uses no CPU for warm workers, over five seconds", async () => {
    await using rf = await invoker();
    await using lease = await rf.allocate(GOOD, { polling: "warm", workers: 2 });
    const view = lease.input(Uint8Array, 8);
    for (let i = 0; i < 100; i++) lease.invoke("echo", view, view);
    const processes = [
      lease.hostPid,
      ...descendants(process.pid).filter((pid) => pid !== lease.hostPid),
    ];
    // The next host in waiting is still starting.
    await Bun.sleep(500);
    const before = processes.map((pid) => cpuTimeNs(pid));
    await Bun.sleep(5000);
    const percent = processes.map((pid, i) => (cpuTimeNs(pid) - before[i]!) / 5e7);
    for (const share of percent) expect(share).toBeLessThan(0.5);
  }, 30_000);

  test("holds sixteen idle workers in 300 MB", async () => {
    await using rf = await invoker({ cores: 16, prewarm: 0 });
    await using lease = await rf.allocate(GOOD, { polling: "warm", workers: 16 });
    const view = lease.input(Uint8Array, 8);
    for (let worker = 0; worker < 16; worker++) lease.invoke("echo", view, view, { worker });
    expect(proportionalBytes(lease.hostPid)).toBeLessThan(300_000_000);
  }, 30_000);
});

describe("leases", () => {
  test("that come and go leave no memory and no descriptors behind in client and node", async () => {
    await using rf = await invoker();
    const node = descendants(process.pid)[0]!;
    const cycle = async () => {
      await using lease = await rf.allocate(GOOD, { polling: "warm" });
      const view = lease.input(Uint8Array, 8);
      await lease.submit("echo", view, view);
    };
    const open = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
    for (let i = 0; i < 5; i++) await cycle();
    const before = [open(process.pid), open(node)];
    for (let i = 0; i < 25; i++) await cycle();
    expect(Math.abs(open(process.pid) - before[0]!)).toBeLessThanOrEqual(2);
    expect(Math.abs(open(node) - before[1]!)).toBeLessThanOrEqual(4);
  }, 60_000);
});
