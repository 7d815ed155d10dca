/** What is on the bill after processes were killed: every finished call, once, and no settled bill is lost. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Invoker, type Lease, WorkerLost, invoker } from "../../src/index.ts";
import { FUNCTIONS, ServedNode } from "../support/executable.ts";
import { type LedgerRow, RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Good = typeof import("../functions/good.ts");

const MODULE = join(FUNCTIONS, "good.ts");

/** Calls without a look at anything else. */
const PORTION = 5000;

class Caller {
  readonly lease: Lease<Good>;
  readonly #input: Uint8Array<ArrayBuffer>;
  readonly #output: Uint8Array<ArrayBuffer>;
  /** Calls that came back. */
  finished = 0;

  constructor(lease: Lease<Good>) {
    this.lease = lease;
    this.#input = lease.input(Uint8Array, 8).fill(1);
    this.#output = lease.output(Uint8Array, 8);
  }

  static async start(rf: Invoker): Promise<Caller> {
    return new Caller(await rf.allocate<Good>(MODULE, { memory: "256KiB", polling: "adaptive" }));
  }

  call(times: number): void {
    for (let i = 0; i < times; i++) {
      if (this.lease.invoke("echo", this.#input, this.#output) !== 8) throw new Error("wrong");
      this.finished++;
    }
  }

  /** In portions: other leases expire while a program does nothing but to wait for calls. */
  async callOn(times: number): Promise<void> {
    for (let left = times; left > 0; left -= PORTION) {
      this.call(Math.min(left, PORTION));
      await this.lease.usage();
    }
  }
}

/** The number that a node gave the lease is the end of its name on the bill. */
const byNumber = (rows: readonly LedgerRow[]): LedgerRow[] =>
  rows.toSorted((a, b) => Number(a.lease.split("/")[1]) - Number(b.lease.split("/")[1]));

describe("a bill", () => {
  test("has a million calls of four leases, each once, though two hosts are killed", async () => {
    using scratch = new Scratch();
    await using manager = await RunningManager.start(scratch.path);
    await using node = await ServedNode.start(scratch.join("node.sock"), [
      ...["--manager", manager.address, "--cores", "4", "--name", "n1"],
    ]);
    await using rf = await invoker({ node: node.address });
    const callers: Caller[] = [];
    for (let i = 0; i < 4; i++) callers.push(await Caller.start(rf));
    const CALLS = 250_000;
    for (const caller of callers.slice(0, 2)) await caller.callOn(CALLS);
    for (const caller of callers.slice(2)) {
      // While it calls: the kill comes from the process itself, by a timer of its own.
      const killer = Bun.spawn(["sh", "-c", `sleep 0.05; kill -9 ${caller.lease.hostPid}`]);
      expect(() => caller.call(1e9)).toThrow(WorkerLost);
      await killer.exited;
      expect(caller.finished).toBeGreaterThan(0);
    }
    // What the killed ones did not come to is called on the others.
    const done = callers.reduce((sum, { finished }) => sum + finished, 0);
    await callers[0]!.callOn(Math.max(0, 4 * CALLS - done));
    const usages = await Promise.all(callers.slice(0, 2).map(({ lease }) => lease.usage()));
    await Promise.all(callers.map(({ lease }) => lease.release()));
    await until(
      () => manager.rows().filter(({ ended_at_ms }) => ended_at_ms !== null).length === 4,
      "four settled bills",
    );

    const rows = byNumber(manager.rows());
    expect(rows.map(({ reason }) => reason)).toEqual([
      "released",
      "released",
      "host-died",
      "host-died",
    ]);
    rows.forEach((row, i) => {
      const { finished } = callers[i]!;
      expect(row.allocation_core_ns).toBeGreaterThan(0);
      if (i < 2) {
        expect(row.calls).toBe(finished);
        expect(usages[i]!.calls).toBe(finished);
      } else {
        // The call that the kill interrupted may have run.
        expect(row.calls).toBeGreaterThanOrEqual(finished);
        expect(row.calls).toBeLessThanOrEqual(finished + 1);
      }
    });
    expect(rows.reduce((sum, { calls }) => sum + calls, 0)).toBeGreaterThanOrEqual(4 * CALLS);
  });

  test("has what a module computes while it loads, though it then fails", async () => {
    using scratch = new Scratch();
    await using manager = await RunningManager.start(scratch.path);
    await using node = await ServedNode.start(scratch.join("node.sock"), [
      ...["--manager", manager.address, "--cores", "2", "--name", "n1"],
    ]);
    await using rf = await invoker({ node: node.address });
    const module = scratch.file(
      "computes-and-fails.ts",
      `const usedMs = () => Object.values(process.cpuUsage()).reduce((a, b) => a + b) / 1000;
      const before = usedMs();
      while (usedMs() - before < 400);
      throw new Error("what was computed");
      export function echo(): number { return 0; }`,
    );
    const options = { workers: 2, memory: "256KiB", polling: "warm", project: "climate" } as const;
    await expect(rf.allocate(module, options)).rejects.toThrow("what was computed");
    await until(() => manager.rows().some((row) => row.reason !== null), "the settled bill");
    const [row] = manager.rows();
    expect([row!.reason, row!.project]).toEqual(["load-failed", "climate"]);
    expect(row!.execution_ns).toBeGreaterThan(400e6);
    // No worker uses more CPU time than its core was held.
    expect(row!.allocation_core_ns).toBeGreaterThan(400e6);
  });

  test("survives its manager, killed 100 times while leases come, call and go", async () => {
    using scratch = new Scratch();
    await using manager = await RunningManager.start(scratch.path);
    await using node = await ServedNode.start(scratch.join("node.sock"), [
      ...["--manager", manager.address, "--cores", "4", "--prewarm", "2", "--name", "n1"],
    ]);
    await using rf = await invoker({ node: node.address });
    const expected: number[] = [];
    const settled = new Map<string, LedgerRow>();
    let killing = true;
    const work = (async () => {
      while (killing) {
        const caller = await Caller.start(rf);
        caller.call(1 + Math.floor(Math.random() * 2_000));
        expected.push(caller.finished);
        await caller.lease.release();
      }
    })();
    const kill = async (): Promise<void> => {
      for (let i = 0; i < 100; i++) {
        await Bun.sleep(Math.random() * 60);
        await manager.kill();
        expect(manager.integrity()).toBe("ok");
        const rows = new Map(manager.rows().map((row) => [row.lease, row]));
        // What was settled once never changes any more.
        for (const [lease, row] of settled) expect(rows.get(lease)).toEqual(row);
        for (const [lease, row] of rows) if (row.ended_at_ms !== null) settled.set(lease, row);
        await manager.restart();
      }
    };
    await kill().finally(() => (killing = false));
    await work;
    await until(
      () =>
        manager.rows().filter(({ ended_at_ms }) => ended_at_ms !== null).length === expected.length,
      "all bills are settled",
    );
    expect(byNumber(manager.rows()).map(({ calls }) => calls)).toEqual(expected);
    expect(settled.size).toBeGreaterThan(0);
  }, 120_000);

  test("goes on without a manager, and is handed in to one that comes later with nothing", async () => {
    using scratch = new Scratch();
    const manager = await RunningManager.start(scratch.path);
    await using _ = manager;
    await manager.kill();
    await using node = await ServedNode.start(scratch.join("node.sock"), [
      ...["--manager", manager.address, "--cores", "2"],
    ]);
    await using rf = await invoker({ node: node.address });
    const one = await Caller.start(rf);
    one.call(1_000);
    await one.lease.release();
    const two = await Caller.start(rf);
    two.call(500);
    await manager.restart();
    await until(() => manager.rows().length === 2, "both leases are on the bill");
    two.call(500);
    await two.lease.release();
    await until(
      () => manager.rows().every(({ ended_at_ms }) => ended_at_ms !== null),
      "both bills are settled",
    );
    expect(byNumber(manager.rows()).map(({ calls }) => calls)).toEqual([1_000, 1_000]);
  });
});

// Only root can mount.
const asRoot = process.getuid?.() === 0;
if (!asRoot) console.warn("skipped, needs root: a full disk under the ledger");
test.skipIf(!asRoot)(
  "a full disk under the ledger: no new leases, nothing lost, and on it goes with room",
  async () => {
    using scratch = new Scratch();
    const small = scratch.join("small");
    mkdirSync(small);
    const run = (...command: string[]) => expect(Bun.spawnSync(command).exitCode).toBe(0);
    run("mount", "-t", "tmpfs", "-o", "size=2m", "rfaas-test", small);
    try {
      await using manager = await RunningManager.start(small);
      await using node = await ServedNode.start(scratch.join("node.sock"), [
        ...["--manager", manager.address, "--cores", "2"],
      ]);
      await using rf = await invoker({ node: node.address });
      const before = await Caller.start(rf);
      before.call(100);
      await before.lease.release();
      await until(() => manager.rows().some(({ calls }) => calls === 100), "it is on the bill");

      const held = await Caller.start(rf);
      await until(() => manager.rows().length === 2, "the second lease is on the bill");
      Bun.spawnSync(["dd", "if=/dev/zero", `of=${join(small, "filler")}`, "bs=1k"]);
      const refused = async (): Promise<boolean> => {
        try {
          await (await Caller.start(rf)).lease.release();
          return false;
        } catch (error) {
          expect(error).toMatchObject({ code: "RFAAS_NODE_REFUSES" });
          expect((error as Error).message).toContain("cannot keep the bill");
          return true;
        }
      };
      // Each tenth of a second a bill must be written, as long as there are calls.
      await until(() => (held.call(10), refused()), "the node refuses new leases", 30_000);
      held.call(10);
      await held.lease.release();

      rmSync(join(small, "filler"));
      await until(async () => !(await refused()), "it grants leases again", 30_000);
      await until(
        () => manager.rows().some(({ calls }) => calls === held.finished),
        "what was called meanwhile is on the bill",
      );
      expect(manager.integrity()).toBe("ok");
    } finally {
      // A manager that was killed has its files open for a moment longer.
      await until(() => Bun.spawnSync(["umount", small]).exitCode === 0, "it can be unmounted");
    }
  },
  90_000,
);
