/** A node's books, with a manager and a time that the test plays: what it is told, and what it hears. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { AgentEvents } from "../../src/executor/agent/agent.ts";
import type { LeaseBill } from "../../src/executor/agent/lease-table.ts";
import {
  type BookedNode,
  Bookkeeper,
  type BookkeeperOptions,
} from "../../src/executor/accounts/bookkeeper.ts";
import { headOf, lineOf, parse } from "../../src/executor/accounts/journal-file.ts";
import type { ManagerToNode, ToManager, UsageReport } from "../../src/protocol/manager-messages.ts";
import { TestClock } from "../support/clock.ts";
import { DialledLinks } from "../support/dialled.ts";
import { closedFilesOf } from "../support/open-files.ts";
import { Scratch } from "../support/scratch.ts";

type Accepted = Extract<ManagerToNode, { t: "accepted" }>;
const ACCEPTED: Accepted = { t: "accepted", name: "node-1", publicKey: null };

/** A node that notes what it is asked to do. */
class NotingNode implements BookedNode {
  readonly cores = 8;
  readonly asked: string[] = [];
  free = { cores: 8, memoryBytes: 1000 };
  leaseCount = 0;
  keptHosts = 0;
  waiting = 0;
  waitingSinceMs: number | undefined = undefined;
  draining = false;
  events: AgentEvents | undefined;
  revoke(limitMs: number): void {
    this.draining = true;
    this.asked.push(`revoke ${limitMs}`);
  }
  resume(): void {
    this.draining = false;
    this.asked.push("resume");
  }
  refuse(reason: string | null): void {
    this.asked.push(`refuse ${reason}`);
  }
  watch(events: AgentEvents): void {
    this.events = events;
  }
}

function bill(lease: number, allocationCoreNs: number, ended = false): LeaseBill {
  return {
    lease,
    user: "ada",
    workers: 2,
    coresPerWorker: 1,
    project: undefined,
    startedAtMs: 5,
    usage: { allocationCoreNs, executionNs: 0, pollingNs: 0, calls: 0, bytes: 0 },
    ended: ended ? { atMs: 9, reason: "released" } : undefined,
  };
}

function books(more: Partial<BookkeeperOptions> = {}) {
  const clock = new TestClock();
  const links = new DialledLinks<ManagerToNode, ToManager>();
  const node = new NotingNode();
  const keys: string[] = [];
  const lines: string[] = [];
  const keeper = new Bookkeeper(
    node,
    { useKey: (key) => keys.push(key) },
    {
      manager: "manager:1",
      name: "node-1",
      address: "node-1:7000",
      memoryBytes: 1000,
      fabrics: ["shm"],
      removalLimitMs: 700,
      instance: "first-life",
      clock,
      random: () => 1,
      dial: links.dial,
      log: (level, message) => lines.push(`${level}: ${message}`),
      ...more,
    },
  );
  /** What the manager was sent since this was asked last, of one kind. */
  const told = <T extends ToManager["t"]>(t: T): Extract<ToManager, { t: T }>[] => {
    const of = links.last.sent.splice(0).filter((message) => message.t === t);
    return of as Extract<ToManager, { t: T }>[];
  };
  const accept = (): void => {
    links.last.open();
    links.last.say(ACCEPTED);
  };
  const reports = () =>
    told("report-usage").flatMap(({ id: batch, reports }) =>
      reports.map(({ lease, usage, endedAtMs }) => ({
        batch,
        lease,
        coreNs: usage.allocationCoreNs,
        ended: endedAtMs !== null,
      })),
    );
  const tell = (...bills: LeaseBill[]): void => bills.forEach((one) => node.events!.usage(one));
  return { clock, links, node, keys, lines, keeper, told, accept, reports, tell };
}

describe("a node says to its manager", () => {
  test("who it is, as soon as it is connected", () => {
    const { links, told } = books();
    expect(links.last.address).toMatchObject({ host: "manager", port: 1 });
    links.last.open();
    expect(told("announce")).toMatchObject([
      { name: "node-1", instance: "first-life", cores: 8, memoryBytes: 1000, settling: false },
    ]);
  });

  test("what it has free: once it is accepted, soon after a change, and with each heartbeat", () => {
    const { clock, node, told, accept } = books();
    accept();
    expect(told("capacity")).toMatchObject([{ freeCores: 8, leases: 0, draining: false }]);
    node.free = { cores: 6, memoryBytes: 900 };
    node.leaseCount = 1;
    node.keptHosts = 2;
    node.events!.capacity();
    node.events!.capacity();
    clock.pass(10);
    expect(told("capacity")).toMatchObject([
      { freeCores: 6, freeMemoryBytes: 900, leases: 1, keptHosts: 2 },
    ]);
    clock.pass(5000);
    expect(told("capacity")).toHaveLength(10);
  });

  test("what leases cost, the newest sum of each, one batch at a time", () => {
    const { clock, links, reports, accept, tell } = books();
    accept();
    tell(bill(1, 10), bill(2, 20), bill(1, 11));
    clock.pass(0);
    expect(reports()).toEqual([
      { batch: 1, lease: "first-life/1", coreNs: 11, ended: false },
      { batch: 1, lease: "first-life/2", coreNs: 20, ended: false },
    ]);
    tell(bill(1, 12));
    clock.pass(500);
    expect(reports()).toEqual([]);
    links.last.say({ t: "report-usage-reply", id: 1 });
    clock.pass(100);
    expect(reports()).toEqual([{ batch: 2, lease: "first-life/1", coreNs: 12, ended: false }]);
  });

  test("again what it does not confirm, and all that goes on where a connection is new", () => {
    const { clock, links, reports, accept, tell } = books();
    accept();
    tell(bill(1, 10), bill(2, 20, true));
    clock.pass(0);
    expect(reports()).toHaveLength(2);
    clock.pass(1600);
    expect(reports().map(({ batch }) => batch)).toEqual([2, 2]);
    // A late word about the first batch is about no batch at all.
    links.last.say({ t: "report-usage-reply", id: 1 });
    links.last.say({ t: "report-usage-reply", id: 2 });
    links.last.breakOff();
    clock.pass(50);
    accept();
    expect(reports().map(({ lease }) => lease)).toEqual(["first-life/1"]);
  });

  test("nothing more of a lease that it has had the last word of", () => {
    const { clock, reports, accept, tell } = books();
    tell(bill(1, 10, true), bill(1, 9));
    accept();
    clock.pass(0);
    expect(reports()).toMatchObject([{ coreNs: 10, ended: true }]);
  });
});

describe("the journal", () => {
  /** It ends, and closes its file. */
  const end = async (
    { keeper, clock }: Pick<ReturnType<typeof books>, "keeper" | "clock">,
    folder: string,
  ): Promise<void> => {
    const left = keeper.leave();
    clock.pass(6000);
    await left;
    await closedFilesOf(folder);
  };
  const read = (folder: string): UsageReport[] =>
    readdirSync(folder)
      .filter((name) => name.endsWith(".bills"))
      .flatMap((name) => parse(readFileSync(join(folder, name), "utf8"))!.reports);

  test("has the last word of a lease until the manager has it, and sums while there is no manager", async () => {
    using scratch = new Scratch();
    const journals = scratch.join("bills");
    const { clock, links, reports, accept, tell, keeper } = books({ journals });
    tell(bill(1, 10));
    clock.pass(0);
    expect(read(journals)).toMatchObject([{ usage: { allocationCoreNs: 10 }, endedAtMs: null }]);
    accept();
    links.last.say({ t: "report-usage-reply", id: 1 });
    // A manager that is there knows it as well.
    tell(bill(1, 15));
    clock.pass(500);
    links.last.say({ t: "report-usage-reply", id: 2 });
    expect(read(journals)).toMatchObject([{ usage: { allocationCoreNs: 10 } }]);
    tell(bill(1, 20, true));
    clock.pass(100);
    expect(reports().at(-1)).toMatchObject({ batch: 3, coreNs: 20, ended: true });
    expect(read(journals)).toMatchObject([{ usage: { allocationCoreNs: 20 }, endedAtMs: 9 }]);
    links.last.say({ t: "report-usage-reply", id: 3 });
    expect(read(journals)).toEqual([]);
    await end({ keeper, clock }, journals);
    expect(readdirSync(journals)).toEqual([]);
  });

  test("stays with what the manager has not taken when the node leaves, which says where", async () => {
    using scratch = new Scratch();
    const journals = scratch.join("bills");
    const { clock, tell, keeper, lines } = books({ journals });
    tell(bill(1, 10, true));
    clock.pass(0);
    await end({ keeper, clock }, journals);
    expect(read(journals)).toHaveLength(1);
    expect(lines.at(-1)).toMatch(/^info: 1 bill kept in .*node-1\.first-life\.bills until/);
  });

  test("of an earlier run is handed in as that run's, which is out of the cluster, and goes when the manager has it", async () => {
    using scratch = new Scratch();
    const usage = bill(7, 30, true).usage;
    const lost: UsageReport = {
      ...{ lease: "killed/7", node: "node-1", user: "ada", workers: 2, startedAtMs: 5 },
      ...{ endedAtMs: 9, reason: "released", usage },
    };
    const of = { node: "node-1", manager: "manager:1", instance: "killed" };
    const head = headOf({ ...of, cores: 64 });
    // Its process had our number at another time.
    const lines = [{ ...head, processStart: "1" }, lost].map(lineOf).join("");
    const path = scratch.file("node-1.killed.bills", lines);
    const { clock, links, lines: log } = books({ journals: scratch.path });
    const [former, own] = links.all;
    for (const link of [former!, own!]) {
      link.open();
      link.say(ACCEPTED);
    }
    expect(own!.sent[0]).toMatchObject({ instance: "first-life", settling: false });
    expect(former!.sent).toMatchObject([
      // With the cores that it had: the manager takes no bill of more.
      { t: "announce", name: "node-1", instance: "killed", cores: 64, settling: true },
      { t: "capacity" },
      { t: "report-usage", id: 1, reports: [lost] },
    ]);
    expect(existsSync(path)).toBe(true);
    former!.say({ t: "report-usage-reply", id: 1 });
    clock.pass(0);
    expect(former!.sent.at(-1)).toEqual({ t: "leaving" });
    expect(existsSync(path)).toBe(false);
    expect(log.at(-1)).toBe("info: 1 bill that an earlier run of this node had left handed in");
  });
});

describe("a manager", () => {
  test("drains, resumes and removes the node, gives it a key, and says when it cannot keep bills", () => {
    const { links, node, keys, accept } = books();
    accept();
    links.last.say({ t: "drain", deadlineMs: 300 });
    links.last.say({ t: "resume" });
    links.last.say({ t: "remove" });
    links.last.say({ t: "ledger", problem: "no space left" });
    links.last.say({ t: "ledger", problem: null });
    links.last.say({ ...ACCEPTED, publicKey: "a key" });
    expect(node.asked).toMatchObject([
      "revoke 300",
      "resume",
      "revoke 700",
      expect.stringContaining("the manager cannot keep the bill (no space left)"),
      "refuse null",
    ]);
    expect(keys).toEqual(["a key"]);
  });

  test("that has removed the node is told of it as one that only hands in bills", () => {
    const { clock, links, told, accept } = books();
    accept();
    links.last.say({ t: "remove" });
    links.last.breakOff();
    clock.pass(50);
    links.last.open();
    expect(told("announce")).toMatchObject([{ settling: true }]);
  });

  test("that lets a removed node come again hears it announce itself, and it grants leases again", () => {
    const { clock, links, node, told, accept } = books();
    accept();
    links.last.say({ t: "remove" });
    links.last.say({ t: "readmit" });
    links.last.breakOff();
    clock.pass(50);
    links.last.open();
    const can: unknown = expect.arrayContaining(["readmit"]);
    expect(told("announce")).toMatchObject([{ settling: false, can }]);
    expect(node.asked).toEqual(["revoke 700", "resume"]);
  });

  test("that is started anew after its ledger failed has the node grant leases again", () => {
    const { clock, links, node, accept } = books();
    accept();
    links.last.say({ t: "ledger", problem: "no space left" });
    links.last.breakOff();
    clock.pass(50);
    accept();
    links.last.say({ t: "ledger", problem: "no space left" });
    expect(node.asked).toMatchObject([
      expect.stringContaining("no space left"),
      "refuse null",
      expect.stringContaining("no space left"),
    ]);
  });

  test("that refuses the node is complained of once, however often it does", () => {
    const { clock, links, lines } = books();
    for (let i = 0; i < 3; i++) {
      links.last.open();
      links.last.say({ t: "refused", code: "RFAAS_FORBIDDEN", message: "no token" });
      links.last.breakOff();
      clock.pass(2000);
    }
    expect(lines.filter((line) => line.includes("refuses this node: no token"))).toHaveLength(1);
  });
});

describe("a node that leaves", () => {
  test("waits until its bills are saved, says goodbye, and ends its connection and timers", async () => {
    const { clock, links, told, accept, tell, keeper } = books();
    accept();
    tell(bill(1, 10, true));
    clock.pass(0);
    const left = keeper.leave();
    expect(keeper.unsavedCount).toBe(1);
    links.last.say({ t: "report-usage-reply", id: 1 });
    await left;
    expect(keeper.unsavedCount).toBe(0);
    expect(told("leaving")).toHaveLength(1);
    expect(links.last.over).toBe(true);
    expect(clock.waiting).toBe(0);
  });

  test("gives up on a manager that never answers, and says what is lost", async () => {
    const { clock, lines, tell, keeper } = books();
    tell(bill(1, 10, true));
    const left = keeper.leave();
    clock.pass(5000);
    await left;
    expect(lines.at(-1)).toContain("1 bills could not be handed in to the manager at manager:1");
    expect(clock.waiting).toBe(0);
  });

  test("whose manager comes back meanwhile is announced as one that only hands in bills", async () => {
    const { clock, links, told, accept, tell, keeper } = books();
    accept();
    tell(bill(1, 10, true));
    const left = keeper.leave();
    links.last.breakOff();
    clock.pass(50);
    links.last.open();
    expect(told("announce")).toMatchObject([{ settling: true }]);
    links.last.say(ACCEPTED);
    const [batch] = told("report-usage");
    links.last.say({ t: "report-usage-reply", id: batch!.id });
    await left;
    expect(keeper.unsavedCount).toBe(0);
  });
});
