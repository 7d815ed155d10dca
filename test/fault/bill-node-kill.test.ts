/**
 * Bills over the death of nodes and of their manager at each stage, from a lease that still runs to a bill that was taken and not
 * confirmed: what the functions have counted is on the bill, once.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Invoker, type Lease, invoker } from "../../src/index.ts";
import { parse } from "../../src/executor/accounts/journal-file.ts";
import { Ledger } from "../../src/manager/ledger/ledger.ts";
import { ledgerPath } from "../../src/manager/state/state.ts";
import type { UsageReport } from "../../src/protocol/manager-messages.ts";
import { FUNCTIONS, ServedNode } from "../support/executable.ts";
import { type LedgerRow, RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Counts = typeof import("../functions/counts.ts");
const MODULE = join(FUNCTIONS, "counts.ts");
const LIMIT_MS = 30_000;

/** A manager and a node with their state on disk, both of which are killed and started again, and what functions have counted. */
class Cluster implements AsyncDisposable {
  readonly #scratch = new Scratch();
  readonly #state = this.#scratch.join("node-state");
  readonly #journals = join(this.#state, "bills");
  readonly #marks = this.#scratch.join("marks");
  readonly manager: RunningManager;
  #node: ServedNode | undefined;
  #rf: Invoker | undefined;
  #starts = 0;

  private constructor(scratch: Scratch, manager: RunningManager) {
    this.#scratch = scratch;
    this.manager = manager;
  }

  static async start(): Promise<Cluster> {
    const scratch = new Scratch();
    // Longer than a node that is killed takes to come back, and than its manager.
    const manager = await RunningManager.start(scratch.path, ["--node-grace", "2s"]);
    return new Cluster(scratch, manager);
  }

  async startNode(): Promise<void> {
    // Functions write to a file outside of any room.
    const args = [
      "--cores",
      "4",
      "--name",
      "n1",
      "--state",
      this.#state,
      "--sandbox",
      "none",
      "--no-require-isolation",
    ];
    const socket = this.#scratch.join(`node-${++this.#starts}.sock`);
    this.#node = await ServedNode.start(socket, ["--manager", this.manager.address, ...args]);
    this.#rf = await invoker({ node: this.#node.address });
  }

  async killNode(): Promise<void> {
    this.#node!.kill("SIGKILL");
    await this.#node!.exited;
    await this.#rf!.close();
    this.#node = undefined;
  }

  async stopNode(): Promise<void> {
    await this.#rf!.close();
    this.#node!.kill("SIGTERM");
    expect(await this.#node!.exited).toBe(0);
    this.#node = undefined;
  }

  /** A lease whose function has counted so often. */
  async used(times: number): Promise<Lease<Counts>> {
    const options = { memory: "256KiB", polling: "warm" } as const;
    const lease = await this.#rf!.allocate<Counts>(MODULE, options);
    const path = new TextEncoder().encode(this.#marks);
    const input = lease.input(Uint8Array, path.length);
    input.set(path);
    const output = lease.output(Uint8Array, 8);
    for (let i = 0; i < times; i++) lease.invoke("mark", input, output);
    expect((await lease.usage()).calls).toBe(times);
    return lease;
  }

  /** What functions have counted. */
  get marks(): number {
    return existsSync(this.#marks) ? statSync(this.#marks).size : 0;
  }

  /** What is in the journals of all runs of the node. */
  journals(): UsageReport[] {
    if (!existsSync(this.#journals)) return [];
    return readdirSync(this.#journals).flatMap(
      (name) => parse(readFileSync(join(this.#journals, name), "utf8"))?.reports ?? [],
    );
  }

  /** Waits until a journal has a lease of so many calls, which is over, or goes on. */
  async journalled(calls: number, over: boolean): Promise<void> {
    await until(
      () =>
        this.journals().some(
          ({ usage, endedAtMs }) => usage.calls === calls && (endedAtMs !== null) === over,
        ),
      `a lease of ${calls} calls is in the journal`,
      LIMIT_MS,
    );
  }

  /** Waits for the lease of so many calls on the bill. */
  async billed(calls: number, check: (row: LedgerRow) => boolean, what: string): Promise<void> {
    const row = (): LedgerRow | undefined => this.manager.rows().find((one) => one.calls === calls);
    await until(() => row() !== undefined && check(row()!), `${calls} calls: ${what}`, LIMIT_MS);
  }

  bill() {
    using ledger = Ledger.openToRead(ledgerPath(this.manager.state));
    const [row, ...more] = ledger.bill();
    expect(more).toEqual([]);
    const { leases, live, presumed, calls } = row!;
    return { leases, live, presumed, calls: Number(calls) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#rf?.close();
    await this.#node?.[Symbol.asyncDispose]();
    process.kill(this.manager.pid, "SIGCONT");
    await this.manager[Symbol.asyncDispose]();
    this.#scratch[Symbol.dispose]();
  }
}

const isOver = ({ ended_at_ms, presumed }: LedgerRow): boolean => ended_at_ms !== null && !presumed;

describe("what functions have done is on the bill, once, when", () => {
  test(
    "the node dies while a lease runs: it ends there marked, and its journal has the last word",
    async () => {
      await using cluster = await Cluster.start();
      await cluster.startNode();
      await cluster.used(17);
      await cluster.billed(17, ({ ended_at_ms }) => ended_at_ms === null, "goes on");
      await cluster.journalled(17, false);
      await cluster.killNode();
      const closed = ({ presumed, reason }: LedgerRow) => presumed === 1 && reason === "node-lost";
      await cluster.billed(17, closed, "is marked");
      expect(cluster.bill()).toEqual({ leases: 1, live: 0, presumed: 1, calls: 17 });
      await cluster.startNode();
      await cluster.billed(17, isOver, "is final");
      await cluster.stopNode();
      expect(cluster.bill()).toEqual({ leases: 1, live: 0, presumed: 0, calls: cluster.marks });
      expect(cluster.journals()).toEqual([]);
    },
    3 * LIMIT_MS,
  );

  test(
    "the manager is away, and the node dies again and again: with a lease that runs, with bills, and before it has handed any in",
    async () => {
      await using cluster = await Cluster.start();
      await cluster.manager.kill();
      await cluster.startNode();
      await (await cluster.used(3)).release();
      await cluster.used(5);
      await cluster.journalled(3, true);
      await cluster.journalled(5, false);
      await cluster.killNode();
      await cluster.startNode();
      await (await cluster.used(7)).release();
      await cluster.journalled(7, true);
      await cluster.killNode();
      await cluster.startNode();
      await cluster.manager.restart();
      for (const calls of [3, 5, 7]) await cluster.billed(calls, isOver, "is final");
      await cluster.stopNode();
      expect(cluster.bill()).toEqual({ leases: 3, live: 0, presumed: 0, calls: 15 });
      expect(cluster.marks).toBe(15);
      expect(cluster.journals()).toEqual([]);
    },
    4 * LIMIT_MS,
  );

  test(
    "the node dies as soon as its client has a lease, whether the manager is there or not",
    async () => {
      await using cluster = await Cluster.start();
      await cluster.startNode();
      await cluster.used(0);
      await cluster.killNode();
      await cluster.manager.kill();
      await cluster.startNode();
      await cluster.used(0);
      await cluster.killNode();
      await cluster.manager.restart();
      await cluster.startNode();
      await until(() => cluster.manager.rows().filter(isOver).length === 2, "both are billed");
      await cluster.stopNode();
      expect(cluster.bill()).toEqual({ leases: 2, live: 0, presumed: 0, calls: 0 });
    },
    4 * LIMIT_MS,
  );

  test(
    "the manager has got a bill and not said so: it stands still, then dies, before and after its node",
    async () => {
      await using cluster = await Cluster.start();
      await cluster.startNode();
      const lease = await cluster.used(11);
      await cluster.billed(11, () => true, "is there");
      process.kill(cluster.manager.pid, "SIGSTOP");
      await lease.release();
      await cluster.journalled(11, true);
      await cluster.killNode();
      // What had come to its socket, it takes in.
      process.kill(cluster.manager.pid, "SIGCONT");
      await cluster.startNode();
      await cluster.billed(11, isOver, "is final");
      const next = await cluster.used(13);
      process.kill(cluster.manager.pid, "SIGSTOP");
      await next.release();
      await cluster.journalled(13, true);
      await cluster.manager.kill();
      await cluster.killNode();
      await cluster.manager.restart();
      await cluster.startNode();
      await cluster.billed(13, isOver, "is final");
      await cluster.stopNode();
      expect(cluster.bill()).toEqual({ leases: 2, live: 0, presumed: 0, calls: 24 });
      expect(cluster.marks).toBe(24);
      expect(cluster.journals()).toEqual([]);
    },
    4 * LIMIT_MS,
  );
});
