/** What holds over millions of calls and over seconds of idleness. */
import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { cpuTimeNs } from "../../bench/environment.ts";
import { invoker } from "../support/library.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { APART } from "../support/fabric.ts";
import { anonymousBytes, descendants, residentBytes, sleeps } from "../support/processes.ts";
import { until } from "../support/until.ts";

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
    if (!stderr.includes("=== end")) throw new Error(`it ended early: ${stderr.slice(-2000)}`);
    const between = stderr.slice(stderr.indexOf("=== begin"), stderr.indexOf("=== end"));
    return {
      begun: between.split("Requesting GC").length - 1,
      grownBytes: Number(stdout.split(" ")[0]),
    };
  }

  test("allocates nothing on either side in two million synchronous calls, or in as many as there is time for", async () => {
    let least = await collections([]);
    // An idle process may collect by its own clock. What calls allocate would be collected every time.
    for (let tries = 1; tries < 4 && least.begun > 0; tries++) least = await collections([]);
    expect(least).toEqual({ begun: 0, grownBytes: 0 });
  }, 240_000);

  test("would be caught if it did", async () => {
    expect((await collections(["--allocate"])).begun).toBeGreaterThan(0);
  }, 240_000);

  test("answers millions of calls on one lease, each checked, with flat memory", async () => {
    await using rf = await invoker();
    await using lease = await rf.allocate(GOOD, { polling: "hot" });
    const input = lease.input(Uint32Array, 2);
    const output = lease.output(Uint32Array, 2);
    let calls = 0;
    const run = (count: number): void => {
      // Two that spin on one core take their turns, and calls between machines take longer: then there are fewer calls.
      const endMs = performance.now() + (APART ? 3_000 : 20_000);
      for (let i = 0; i < count; i++) {
        if ((i & 1023) === 0 && performance.now() > endMs) return;
        calls++;
        input[0] = calls;
        input[1] = ~calls;
        const written = lease.invoke("echo", input, output);
        if (written !== 8 || output[0] !== calls || output[1] !== ~calls >>> 0)
          throw new Error(`call ${calls} wrote ${written} bytes: ${output}`);
      }
    };
    run(500_000);
    const bytes = () => [residentBytes(lease.hostPid), residentBytes(process.pid)];
    const grown: number[][] = [];
    for (let window = 0; window < 5; window++) {
      const before = bytes();
      run(1_000_000);
      grown.push(bytes().map((now, i) => now - before[i]!));
    }
    // Compilers and collectors take memory when they like; what a call leaves is left in every window.
    for (const side of [0, 1])
      expect(Math.min(...grown.map((window) => window[side]!))).toBeLessThan(MIB / 4);
    console.error(`${calls} calls were answered`);
  }, 240_000);
});

describe("an idle node", () => {
  /** Rates per second, of the busiest of these processes, over a second. */
  async function activity(processes: readonly number[]): Promise<{ cpu: number; sleeps: number }> {
    const look = () => processes.map((pid) => [cpuTimeNs(pid) ?? 0, sleeps(pid)] as const);
    const [before, beganNs] = [look(), Bun.nanoseconds()];
    await Bun.sleep(1000);
    const [after, seconds] = [look(), (Bun.nanoseconds() - beganNs) / 1e9];
    const most = (what: 0 | 1) =>
      Math.max(...after.map((now, i) => (now[what] - before[i]![what]) / seconds));
    return { cpu: most(0) / 1e9, sleeps: most(1) };
  }

  /** A thread that spins uses at least its share of a loaded core; one that polls by a timer sleeps more often. */
  const isIdle = ({ cpu, sleeps }: { cpu: number; sleeps: number }): boolean =>
    cpu < 0.04 && sleeps < 60;

  test("neither spins nor polls for warm workers, once all that starts has started", async () => {
    await using rf = await invoker();
    // A module without timers of its own.
    await using lease = await rf.allocate("rfaas:echo", { polling: "warm", workers: 2 });
    const view = lease.input(Uint8Array, 8);
    for (let i = 0; i < 100; i++) lease.invoke("echo", view, view);
    const processes = (): number[] => [
      lease.hostPid,
      ...descendants(process.pid).filter((pid) => pid !== lease.hostPid),
    ];
    await until(
      async () => isIdle(await activity(processes())),
      "client's node and hosts idle for a second",
      90_000,
    );
  }, 100_000);

  test.each(["hot", "adaptive"] as const)(
    "would be caught if a worker spun: %s",
    async (polling) => {
      await using rf = await invoker();
      await using lease = await rf.allocate(GOOD, { polling, spinNs: 900_000_000 });
      const view = lease.input(Uint8Array, 8);
      lease.invoke("echo", view, view);
      expect(isIdle(await activity([lease.hostPid]))).toBe(false);
    },
    30_000,
  );

  test("holds sixteen idle workers in 10 MB each beyond the first", async () => {
    const held = async (workers: number): Promise<number> => {
      await using rf = await invoker({ cores: 16, prewarm: 0 });
      await using lease = await rf.allocate(GOOD, { polling: "warm", workers });
      const view = lease.input(Uint8Array, 8);
      for (let worker = 0; worker < workers; worker++) lease.invoke("echo", view, view, { worker });
      return anonymousBytes(lease.hostPid);
    };
    const [one, sixteen] = [await held(1), await held(16)];
    expect((sixteen - one) / 15).toBeLessThan(10_000_000);
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
    // What is closed on a turn of an event loop may still be open; what leaks has been left 25 times.
    await until(
      () => open(process.pid) <= before[0]! + 2 && open(node) <= before[1]! + 4,
      "client and node have as many descriptors as before",
    );
  }, 60_000);
});
