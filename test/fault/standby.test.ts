/** A manager that leads, and one that stands by for it, over an etcd of their own: what becomes of leases, calls and bills when one dies. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Invoker, NodeUnreachable, invoker } from "../../src/index.ts";
import { EtcdState } from "../../src/manager/cluster-state/etcd/etcd.ts";
import { readPlace } from "../../src/manager/cluster-state/etcd/place.ts";
import { Ledger } from "../../src/manager/ledger/ledger.ts";
import { FUNCTIONS, ServedNode, rfaas } from "../support/executable.ts";
import { RunningEtcd, whyNoEtcd } from "../support/etcd.ts";
import { RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Good = typeof import("../functions/good.ts");

const MODULE = join(FUNCTIONS, "good.ts");
const LIMIT_MS = 120_000;
const why = whyNoEtcd();
if (why !== undefined) console.warn(`skipped: ${why}`);

interface Health {
  status: string;
  role: string;
  leader?: string;
  registry: string;
}

const healthOf = async (manager: RunningManager): Promise<Health> =>
  (await (await fetch(`${manager.url}/healthz`)).json()) as Health;
const leads = async (manager: RunningManager): Promise<boolean> =>
  (await healthOf(manager)).role === "leader";

/** What users owe, in the ledger of a manager: each ended lease, with what it used. */
const billIn = (manager: RunningManager): string[] =>
  manager
    .rows()
    .map(({ lease, user, ended_at_ms, calls, allocation_core_ns: held, presumed }) =>
      JSON.stringify({ lease, user, ended_at_ms, calls, held, presumed }),
    )
    .toSorted();

describe.skipIf(why !== undefined)("of two managers", () => {
  let scratch: Scratch;
  let owned: AsyncDisposableStack;
  let etcd: RunningEtcd;
  let first: RunningManager;
  let second: RunningManager;
  let both: string;

  const manager = async (name: string): Promise<RunningManager> =>
    owned.use(
      await RunningManager.start(scratch.join(name), [
        ...["--http", "127.0.0.1:0", "--registry", `${etcd.url}/cluster`],
      ]),
    );
  const node = async (name: string): Promise<ServedNode> => {
    const served = owned.use(
      await ServedNode.start(scratch.join(`${name}.sock`), [
        ...["--manager", both, "--cores", "4", "--name", name, "--prewarm", "1"],
        ...["--state", scratch.join(`of-${name}`)],
      ]),
    );
    await until(() => served.stderr.includes("knows this node"), `${name} is known`);
    return served;
  };

  beforeEach(async () => {
    scratch = new Scratch();
    owned = new AsyncDisposableStack();
    etcd = owned.use(await RunningEtcd.start(scratch.join("etcd")));
    first = await manager("a");
    await until(() => leads(first), "the first one leads");
    second = await manager("b");
    both = `${first.address},${second.address}`;
  });
  afterEach(async () => {
    await owned.disposeAsync();
    scratch[Symbol.dispose]();
  });

  test(
    "the one that stands by takes over from one that is killed: no call and no lease fails, and both have each bill, once",
    async () => {
      await node("n1");
      await node("n2");
      const CALLS = 10_000;
      const LEASES = 200;
      await using rf = await invoker({ manager: both });
      await using lease = await rf.allocate<Good>(MODULE, { memory: "1MiB" });
      const input = lease.input(Uint8Array, 8).fill(1);
      const output = lease.output(Uint8Array, 8);
      let calls = 0;
      let taken = 0;
      let over = false;
      const call = async (): Promise<void> => {
        for (; calls < CALLS || !over; calls++) {
          expect(lease.invoke("echo", input, output)).toBe(8);
          // Others of this program get their turn.
          if (calls % 20 === 0) await Bun.sleep(1);
        }
      };
      const takeFrom = async (client: Invoker): Promise<void> => {
        // A host that is kept is no matter here, and its lease begins sooner.
        const one = await client.allocate<Good>(MODULE, { memory: "256KiB", keepWarmMs: 60_000 });
        expect(one.invoke("echo", one.input(Uint8Array, 8), one.output(Uint8Array, 8))).toBe(8);
        await one.release();
        taken++;
      };
      const take = async (): Promise<void> => {
        while (taken < LEASES || !over) await takeFrom(rf);
      };
      /** Programs that come while nobody leads. */
      const come = async (): Promise<void> => {
        for (let i = 0; i < 5; i++) {
          await using client = await invoker({ manager: both, connectTimeoutMs: 30_000 });
          await takeFrom(client);
        }
      };
      const calling = call();
      const taking = Promise.all([take(), take(), take(), take()]);
      await until(() => taken > LEASES / 4, "leases are taken");
      const killed = { calls, taken };
      await first.kill();
      const coming = come();
      await until(() => leads(second), "the second one leads");
      await coming;
      const atTakeOver = { calls, taken };
      // It goes on with who leads now.
      const more = taken + 20;
      await until(() => taken > more, "leases are taken afterwards");
      over = true;
      await Promise.all([calling, taking]);
      await lease.release();
      expect(calls).toBeGreaterThanOrEqual(CALLS);
      expect(taken).toBeGreaterThanOrEqual(LEASES);
      expect(atTakeOver.calls).toBeGreaterThan(killed.calls);
      expect(atTakeOver.taken).toBeGreaterThan(killed.taken);
      const ended = (of: RunningManager): boolean =>
        of.rows().length === taken + 1 && of.rows().every((row) => row.ended_at_ms !== null);
      await until(() => ended(second), "the second one has all bills");
      const sum = second.rows().reduce((total, row) => total + row.calls, 0);
      expect(sum).toBe(calls + taken);
      await first.restart();
      await until(
        () => billIn(first).join() === billIn(second).join(),
        "the first one has them, too",
      );
      expect(await healthOf(first)).toMatchObject({ role: "standby", leader: second.address });

      // What both have is in etcd no more, but for the last hundreds.
      await until(
        async () => (await etcd.keys("/cluster/past/")).join().endsWith("2"),
        "bills are put together",
      );
      await until(
        async () => (await etcd.keys("/cluster/past/")).length === 1,
        "what both have is removed",
      );
      expect((await etcd.keys("/cluster/bills/")).length).toBeLessThan(taken + 1 - 99);

      // A ledger that is lost has what is there, says what it lacks, and is a copy of the other one.
      const ledgerOf = (of: RunningManager, suffix: string): string =>
        join(of.state, `ledger.sqlite${suffix}`);
      const remove = (of: RunningManager): void => {
        for (const suffix of ["", "-wal", "-shm"]) rmSync(ledgerOf(of, suffix), { force: true });
      };
      await first.end("SIGTERM");
      remove(first);
      await first.restart();
      await until(
        () => first.stderr.includes("this ledger lacks the bills of 99 leases"),
        "it says so",
      );
      const whole = billIn(second);
      expect(whole).toEqual(expect.arrayContaining(billIn(first)));
      await Promise.all([first.end("SIGTERM"), second.end("SIGTERM")]);
      remove(first);
      copyFileSync(ledgerOf(second, ""), ledgerOf(first, ""));
      await Promise.all([first.restart(), second.restart()]);
      await until(async () => (await leads(first)) || (await leads(second)), "one leads again");
      expect([billIn(first), billIn(second)]).toEqual([whole, whole]);
    },
    LIMIT_MS,
  );

  test(
    "every command is given both, and asks the one that leads, also after the other one's death",
    async () => {
      await node("n1");
      const [urls, echo] = [`${first.url},${second.url}`, `${MODULE}#echo`];
      const commands = [
        [["ps", "--manager", both], "n1"],
        [["ps", "--manager", both, "--json"], '"n1"'],
        [["invoke", echo, "--manager", both, "--input", "-"], "seven"],
        [["node", "ls", "--http", urls], "n1"],
        [["user", "set", "ada", "--max-cores", "4", "--http", urls], "ada"],
        [["user", "list", "--http", urls], "ada"],
        [["bill", "--http", urls], "user"],
      ] as const;
      const allAnswer = async (): Promise<void> => {
        for (const [args, expected] of commands) {
          const { exitCode, stdout, stderr } = await rfaas(args, { stdin: "seven" });
          expect({ args, exitCode, told: `${stdout}${stderr}` }).toMatchObject({
            exitCode: 0,
            told: expect.stringContaining(expected),
          });
        }
      };
      await allAnswer();
      await first.kill();
      await until(() => leads(second), "the second one leads");
      await until(
        async () => (await rfaas(["node", "ls", "--http", second.url])).stdout.includes("n1"),
        "the node has come to it",
      );
      await allAnswer();
    },
    LIMIT_MS,
  );

  test(
    "one that stood still has stopped to lead by the time that another one begins, and what it was told is known there",
    async () => {
      const served = await node("n1");
      const at = (of: RunningManager, ...args: string[]) =>
        rfaas(["node", ...args, "--http", of.url]);
      expect((await at(second, "ls")).stderr).toContain(`the leader, it is at ${first.address}`);
      const either = ["--http", `${second.url},${first.url}`];
      expect((await rfaas(["node", "drain", served.address, ...either])).exitCode).toBe(0);
      await until(() => served.stderr.includes("drains this node"), "it drains");
      // Of the next round, which is what `kill -9` may lose.
      await until(
        async () => (await etcd.keys("/cluster/files/")).length === 2,
        "the node and the wish are kept",
      );
      process.kill(first.pid, "SIGSTOP");
      await until(() => leads(second), "the second one leads");
      expect((await at(second, "ls")).stdout).toMatch(/n1 +draining/);
      process.kill(first.pid, "SIGCONT");
      // The first thing that it answers.
      expect((await at(first, "ls")).stderr).toContain("the leader");
      await until(
        async () => (await healthOf(first)).leader === second.address,
        "it knows who leads",
      );
      expect((await rfaas(["node", "resume", "n1", ...either])).exitCode).toBe(0);
      await until(() => served.stderr.includes("grant leases again"), "it is resumed");
    },
    LIMIT_MS,
  );

  test(
    "neither leads while etcd is down: leases and calls go on, and bills are handed in once it is back",
    async () => {
      await node("n1");
      await using rf = await invoker({ manager: both });
      await using lease = await rf.allocate<Good>(MODULE, { memory: "256KiB" });
      const input = lease.input(Uint8Array, 8).fill(1);
      const output = lease.output(Uint8Array, 8);
      await etcd.kill();
      await until(async () => !(await leads(first)), "nobody leads");
      await until(async () => (await healthOf(second)).registry !== "ok", "the other one says so");
      for (const one of [first, second])
        expect(await healthOf(one)).toMatchObject({
          status: "degraded",
          role: "standby",
          registry: expect.stringContaining("etcd at http://127.0.0.1:"),
        });
      // A program that comes now learns of no node, and is told why.
      const late = await invoker({ manager: both, connectTimeoutMs: 2_000 }).then(
        () => undefined,
        (error: Error) => error,
      );
      expect(late).toBeInstanceOf(NodeUnreachable);
      expect(late?.message).toContain(`no manager at ${both} has led within 2000 ms: `);
      expect(late?.message).toContain("does not do what it is asked: no process listens there");
      expect(lease.invoke("echo", input, output)).toBe(8);
      const another = await rf.allocate<Good>(MODULE, { memory: "256KiB" });
      await another.release();
      expect(lease.invoke("echo", input, output)).toBe(8);
      await lease.release();
      expect([...first.rows(), ...second.rows()].filter((row) => row.ended_at_ms !== null)).toEqual(
        [],
      );
      await etcd.restart();
      await until(async () => (await leads(first)) || (await leads(second)), "one leads again");
      const ended = (of: RunningManager): boolean =>
        of.rows().filter((row) => row.ended_at_ms !== null).length === 2;
      await until(() => ended(first) && ended(second), "both have the bills");
      expect(billIn(first)).toEqual(billIn(second));
      for (const one of [first, second])
        expect(one.stderr).not.toContain(`stands by: ${one.address} leads`);
    },
    LIMIT_MS,
  );
});

test.skipIf(why !== undefined)(
  "a bill that a node reports again, as it was before, stays in etcd as the ledger has it; a node that comes back takes the place of its presumed end",
  async () => {
    using scratch = new Scratch();
    await using etcd = await RunningEtcd.start(scratch.join("etcd"));
    using ledger = Ledger.open(scratch.join("ledger.sqlite"));
    const billOf = (lease: string) => ledger.get(lease);
    const options = { stateDir: scratch.path, notes: ledger, billOf };
    const state = await EtcdState.open(readPlace(`${etcd.url}/cluster`, {}), options);
    const identity = { cluster: "c", ca: null, tokenKey: null };
    const events = { standing() {}, bills() {}, managers() {}, log() {} };
    await state.begin({ address: "127.0.0.1:1", http: null }, () => identity, events);
    try {
      await until(() => state.standing.leads, "it leads");
      const usage = { executionNs: 0, pollingNs: 0, bytes: 0 };
      const bill = (lease: string, calls: number, endedAtMs: number | null) => ({
        ...{ lease, node: "n1", user: "ada", workers: 1, startedAtMs: 1000, endedAtMs },
        ...{
          reason: endedAtMs === null ? null : "released",
          usage: { ...usage, allocationCoreNs: 1e9, calls },
        },
      });
      const report = async (lease: string, calls: number, endedAtMs: number) => {
        ledger.record([bill(lease, calls, endedAtMs)]);
        await state.keep([bill(lease, calls, endedAtMs)]);
      };
      await report("i/1", 9, 3000);
      await report("i/1", 5, 2000);
      await state.keep([bill("i/1", 5, 2000), bill("i/1", 5, 2000)]);
      ledger.record([bill("i/2", 5, null)]);
      ledger.presumeEnded(["i/2"]);
      state.keepLater([ledger.get("i/2")!]);
      await report("i/2", 9, 3000);
      await until(async () => {
        // Of a later round.
        state.keepLater([ledger.get("i/3") ?? bill("i/3", 0, 2000)]);
        return (await etcd.keys("/cluster/bills/i/3")).length > 0;
      }, "what was to be kept later is kept");
      for (const lease of ["i/1", "i/2"])
        expect(JSON.parse(await etcd.value(`/cluster/bills/${lease}`))).toEqual(
          bill(lease, 9, 3000),
        );
    } finally {
      await state.end();
    }
  },
  LIMIT_MS,
);
