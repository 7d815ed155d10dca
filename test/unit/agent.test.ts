/** The agent of a node, with clients over memory, hosts that the test plays, and a time that it lets pass. */
import { describe, expect, test, spyOn } from "bun:test";
import { drainMicrotasks } from "bun:jsc";
import { readSync } from "node:fs";
import { Mailbox, closeDescriptor } from "../../ffi/descriptors.ts";
import type { Wire } from "../../src/control/connection.ts";
import { machineId } from "../../src/control/machine.ts";
import type { Identity } from "../../src/executor/admission/identity.ts";
import { Agent } from "../../src/executor/agent/agent.ts";
import type { LeaseBill } from "../../src/executor/agent/lease-table.ts";
import { PackageStore } from "../../src/executor/packages/store.ts";
import { offerFabrics } from "../../src/fabric/registry.ts";
import { FrameReader, encodeFrame } from "../../src/protocol/frame.ts";
import { PROTOCOL_VERSION } from "../../src/protocol/messages.ts";
import { TestClock } from "../support/clock.ts";
import { PlayedHost } from "../support/played-host.ts";

type Message = Record<string, unknown>;

const MIB = 2 ** 20;
const USERS: Record<string, Identity> = {
  ada: { user: "ada", maxCores: null, untilMs: null },
  bob: { user: "bob", maxCores: 1, untilMs: null },
  cleo: { user: "cleo", maxCores: null, untilMs: null, project: "climate" },
  late: { user: "late", maxCores: null, untilMs: 0 },
};

/** A client that has greeted, as the user whose name is its token. */
class Client {
  readonly heard: Message[] = [];
  readonly #mail = Mailbox.named();
  readonly mailbox = this.#mail.mailbox;
  readonly #connection: ReturnType<Agent["newClient"]>;
  #nextId = 1;

  constructor(agent: Agent, token: string) {
    const reader = new FrameReader();
    const wire: Wire = {
      write: (bytes) => {
        this.heard.push(...(reader.push(bytes) as Message[]));
        return bytes.length;
      },
      ...{ end() {}, terminate() {}, ref() {}, unref() {} },
    };
    this.#connection = agent.newClient();
    this.#connection.opened(wire);
    const hello = { t: "hello", protocol: PROTOCOL_VERSION, version: "1", pid: 1, token };
    this.say({ ...hello, machine: machineId(), fabrics: ["shm", "tcp"] });
  }

  say(message: object): void {
    this.#connection.received(encodeFrame(message));
    drainMicrotasks();
  }

  /** Asks, and returns what finds the answer. */
  ask(t: string, fields: object = {}): () => Message | undefined {
    const id = this.#nextId++;
    this.say({ t, id, ...fields });
    return () => this.heard.find((message) => message["id"] === id);
  }

  allocate(more: object = {}): () => Message | undefined {
    return this.ask("allocate", {
      ...{ module: "rfaas:echo", workers: 1, memoryBytes: MIB, slots: 4, polling: null },
      ...{ spinNs: null, loadTimeoutMs: 5000, ttlMs: 3000, budget: {}, fabric: "shm" },
      mailbox: this.#mail.name,
      ...more,
    });
  }

  leave(): void {
    this.#connection.close();
    drainMicrotasks();
  }
}

function node({
  cores = 4,
  prewarm = 0,
  packages = new PackageStore(),
  fabric = "shm" as "shm" | "tcp",
} = {}) {
  const clock = new TestClock();
  const hosts: PlayedHost[] = [];
  const log: string[] = [];
  const bills: LeaseBill[] = [];
  const agent = new Agent({
    ...{
      cpus: Array<number>(cores).fill(-1),
      memoryBytes: 64 * MIB,
      polling: "warm",
      prewarm,
      clock,
    },
    fabrics: offerFabrics({ fabric }),
    packages,
    identify: async (token) => USERS[token!] ?? { refused: "who are you?" },
    log: (level, message) => log.push(`${level}: ${message}`),
    startHost: () => {
      const host = new PlayedHost();
      hosts.push(host);
      return host;
    },
  });
  let changes = 0;
  agent.watch({ capacity: () => changes++, usage: (bill) => bills.push(bill) });
  const client = (token = "ada"): Client => new Client(agent, token);
  /** A client with a lease that is in use, and its host. */
  const leased = (more: object = {}) => {
    const one = client();
    const answer = one.allocate(more);
    const host = hosts.at(-1)!;
    host.load();
    drainMicrotasks();
    const lease = answer()!["lease"] as number;
    one.say({ t: "redeem", lease });
    return { client: one, host, lease };
  };
  return { agent, clock, hosts, log, bills, client, leased, changes: () => changes };
}

/** The process of a host is gone. */
function gone(host: PlayedHost, exit: Parameters<PlayedHost["exit"]>[0] = {}): void {
  host.exit(exit);
  drainMicrotasks();
}

describe("a lease", () => {
  test("is granted with its memory when all workers have loaded, and its share is taken from the request on", () => {
    const { agent, hosts, client } = node();
    const ada = client();
    const answer = ada.allocate({ workers: 2 });
    expect(agent.free).toEqual({ cores: 2, memoryBytes: 63 * MIB });
    const [host] = hosts;
    expect(host!.request("attach").fields).toMatchObject({
      module: "rfaas:echo",
      workers: 2,
      slots: 4,
    });
    // Memory, the client's socket, and both ends of each worker's.
    expect(host!.descriptors()).toBe(2 + 2 * 2);
    expect(answer()).toBeUndefined();
    host!.load();
    drainMicrotasks();
    expect(answer()).toMatchObject({
      t: "allocate-reply",
      hostPid: process.pid,
      slots: 4,
      expiresInMs: 3000,
    });
    const fds = ada.mailbox.receive(answer()!["nonce"] as Uint8Array)!;
    expect(fds).toHaveLength(2 + 1 + 2);
    for (const fd of fds) closeDescriptor(fd);
  });

  test("is released: its host is let go, and the share is free when the process is gone", () => {
    const { agent, leased, bills } = node();
    const { client, host, lease } = leased({ workers: 2 });
    const answer = client.ask("release", { lease });
    expect([host.told, host.killed]).toEqual([["detach"], false]);
    expect(agent.free.cores).toBe(2);
    expect(answer()).toBeUndefined();
    gone(host, { exitCode: 0, signal: null });
    expect(agent.free).toEqual({ cores: 4, memoryBytes: 64 * MIB });
    expect(answer()).toMatchObject({ t: "release-reply" });
    expect(bills.at(-1)).toMatchObject({
      lease,
      user: "ada",
      workers: 2,
      ended: { reason: "released" },
    });
  });

  test("that still loads goes on while its user has core-hours, however few, and then hears of it", () => {
    const { agent, hosts, client } = node();
    const ada = client();
    const answer = ada.allocate();
    const spent = (spentInMs: number): void => {
      const limits = { coreHours: { hours: 1, period: "day" as const } };
      const users = [{ user: "ada", limits, allowance: {}, spentInMs, why: "none are left" }];
      agent.quota.word({ nodes: 1, rank: 0, first: true, users });
    };
    spent(20_000);
    hosts[0]!.load();
    drainMicrotasks();
    expect(answer()).toMatchObject({ t: "allocate-reply" });
    spent(19_000);
    expect(ada.heard.at(-1)).toMatchObject({ t: "revoking", cause: "over-quota" });
    const late = ada.allocate();
    spent(0);
    drainMicrotasks();
    expect(late()).toMatchObject({ t: "failed" });
  });

  test("that is released and whose host does not go is ended by force", () => {
    const { clock, leased } = node();
    const { client, host, lease } = leased();
    client.ask("release", { lease });
    clock.pass(99);
    expect(host.killed).toBe(false);
    clock.pass(1);
    expect(host.killed).toBe(true);
  });

  test("goes on while it is renewed, and expires when it is neither renewed nor used", () => {
    const { clock, leased } = node();
    const { client, host, lease } = leased();
    for (let i = 0; i < 5; i++) {
      clock.pass(2000);
      expect(client.ask("renew", { lease, ttlMs: null })()).toMatchObject({ expiresInMs: 3000 });
    }
    clock.pass(3001);
    expect(client.heard.at(-1)).toMatchObject({
      t: "lost",
      lease,
      message: expect.stringContaining("expired"),
    });
    expect(host.killed).toBe(true);
    gone(host);
    expect(client.ask("renew", { lease, ttlMs: null })()).toMatchObject({
      t: "failed",
      code: "RFAAS_LEASE_LOST",
    });
  });

  test("ends with its client, and with its host, which is told with what killed it", () => {
    const { agent, leased } = node();
    const first = leased();
    first.client.leave();
    expect(first.host.killed).toBe(true);
    gone(first.host);
    const second = leased();
    gone(second.host, { signal: "SIGSEGV" });
    expect(second.client.heard.at(-1)).toMatchObject({ t: "lost", signal: "SIGSEGV" });
    expect(agent.free.cores).toBe(4);
  });

  test("whose budget is spent is ended by the next look", () => {
    const { clock, leased } = node();
    const { client, host } = leased({ budget: { allocationCoreNs: 150e6 } });
    clock.pass(100);
    expect(host.killed).toBe(false);
    clock.pass(100);
    expect(client.heard.at(-1)).toMatchObject({
      t: "lost",
      message: expect.stringContaining("budget"),
    });
  });

  test.each([1, 3])(
    "of %p workers is billed its budget, and at most a look's cores more",
    (workers) => {
      const { clock, leased, bills } = node();
      const budget = { allocationCoreNs: 1e9 };
      const { host } = leased({ workers, budget });
      while (!host.killed) clock.pass(1);
      gone(host);
      const { usage, ended } = bills.at(-1)!;
      expect(ended).toMatchObject({ reason: "over-budget" });
      expect(usage.allocationCoreNs).toBeGreaterThanOrEqual(budget.allocationCoreNs);
      expect(usage.allocationCoreNs).toBeLessThanOrEqual(budget.allocationCoreNs + workers * 101e6);
    },
  );

  test("is billed while it goes on, by what the agent's own clock says", () => {
    const { clock, leased, bills } = node();
    const { lease, client } = leased({ workers: 2 });
    clock.pass(1000);
    expect(bills.at(-1)).toMatchObject({
      lease,
      usage: { allocationCoreNs: 2e9 },
      ended: undefined,
    });
    expect(client.ask("get-usage", { lease })()).toMatchObject({
      usage: { allocationCoreNs: 2e9 },
    });
  });

  test("is billed from when its cores are taken until they are free, also while it loads and its host ends", () => {
    const { clock, hosts, client, bills } = node();
    const ada = client();
    const answer = ada.allocate({ workers: 2 });
    clock.pass(1000);
    expect(bills.at(-1)).toMatchObject({ usage: { allocationCoreNs: 2e9 }, ended: undefined });
    const listed = ada.ask("list-leases")()!["shown"];
    expect(listed).toMatchObject([{ phase: "loading", usage: { allocationCoreNs: 2e9 } }]);
    hosts[0]!.load();
    drainMicrotasks();
    ada.ask("release", { lease: answer()!["lease"] });
    clock.pass(50);
    gone(hosts[0]!, { exitCode: 0, signal: null });
    expect(bills.at(-1)).toMatchObject({ usage: { allocationCoreNs: 2.1e9 } });
    const { startedAtMs, ended } = bills.at(-1)!;
    expect(ended!.atMs - startedAtMs).toBe(1050);
  });

  test("ends on the bill when its cores are free, however long the cache of packages takes for its module then", () => {
    const packages = new PackageStore();
    const { clock, bills, leased } = node({ packages });
    packages.use = async () => ({
      ...{ path: "/fn.js", name: "fn.ts" },
      // A disk that does not answer for a while.
      end: () => clock.pass(1500),
    });
    const { client, host, lease } = leased({ module: `package:${"0".repeat(64)}` });
    clock.pass(1000);
    client.ask("release", { lease });
    gone(host, { exitCode: 0, signal: null });
    const { startedAtMs, ended, usage } = bills.at(-1)!;
    expect(usage.allocationCoreNs).toBe(1e9);
    expect(ended!.atMs - startedAtMs).toBe(1000);
  });

  test.each<[string, (host: PlayedHost) => void, string]>([
    [
      "whose module fails",
      (host) => host.request("attach").refuse("RFAAS_MODULE_FAILED", "it threw"),
      "load-failed",
    ],
    ["whose host dies while it loads", (host) => host.exit({ signal: "SIGKILL" }), "host-died"],
  ])("%s is billed for what it held", (_, fail, reason) => {
    const { clock, hosts, client, bills } = node();
    client().allocate();
    clock.pass(700);
    fail(hosts[0]!);
    drainMicrotasks();
    gone(hosts[0]!);
    const usage = { allocationCoreNs: 0.7e9 };
    expect(bills.at(-1)).toMatchObject({ usage, ended: { reason } });
  });

  test("whose budget is spent while it loads is denied, and its client hears that loading counts", () => {
    const { clock, hosts, client } = node();
    const answer = client().allocate({ budget: { allocationCoreNs: 150e6 } });
    clock.pass(200);
    expect(hosts[0]!.killed).toBe(true);
    expect(answer()).toMatchObject({
      code: "RFAAS_NODE_LOST",
      message: expect.stringContaining("its budget was spent while its module loaded"),
    });
  });

  test("tells its client of workers that are lost, lines and progress, those of its start after the grant", () => {
    const { hosts, client } = node();
    const ada = client();
    const answer = ada.allocate();
    const [host] = hosts;
    const line = {
      worker: 0,
      level: "info",
      message: "hello",
      data: null,
      atMs: 1,
      dropped: 0,
    } as const;
    host!.say({ t: "host-log", line });
    expect(ada.heard.filter(({ t }) => t === "log")).toEqual([]);
    host!.load();
    drainMicrotasks();
    const lease = answer()!["lease"];
    host!.say({ t: "worker-ended", worker: 0, message: "it broke" });
    expect(ada.heard.slice(-2)).toMatchObject([
      { t: "log", lease, line },
      { t: "worker-lost", lease, worker: 0, message: "it broke" },
    ]);
    host!.say({ t: "client-lost", message: "the way to it is lost" });
    expect(ada.heard.at(-1)).toMatchObject({ t: "lost", lease, message: "the way to it is lost" });
  });

  test("hears nothing of workers and slots that it does not have, which a function might make up", () => {
    const { log, leased } = node();
    const { client, host } = leased({ workers: 2 });
    const line = {
      worker: 2,
      level: "info",
      message: "a",
      data: null,
      atMs: 1,
      dropped: 0,
    } as const;
    const report = { sequence: 1, fraction: 0.5, message: null, dropped: 0 };
    const before = [client.heard.length, log.length];
    host.say({ t: "host-log", line });
    host.say({ t: "host-progress", report: { ...report, worker: 2, slot: 0 } });
    host.say({ t: "host-progress", report: { ...report, worker: 0, slot: 4 } });
    host.say({ t: "worker-ended", worker: 2, message: "it broke" });
    expect([client.heard.length, log.length]).toEqual(before);
    host.say({ t: "host-log", line: { ...line, worker: 1 } });
    host.say({ t: "host-progress", report: { ...report, worker: 1, slot: 3 } });
    expect(client.heard.slice(-2).map(({ t }) => t)).toEqual(["log", "progress"]);
  });

  test("that is over is still known by its last sums, once its host is gone, to its own client alone", () => {
    const { clock, leased, client, bills } = node();
    const { client: ada, host, lease } = leased({ ttlMs: 3000 });
    clock.pass(1000);
    expect(ada.ask("renew", { lease, ttlMs: null })()).toMatchObject({
      usage: { allocationCoreNs: 1e9 },
    });
    clock.pass(3001);
    expect(host.killed).toBe(true);
    const answer = ada.ask("get-usage", { lease });
    clock.pass(50);
    expect(answer()).toBeUndefined();
    gone(host);
    expect(answer()).toMatchObject({ final: true, usage: bills.at(-1)!.usage });
    expect(ada.ask("get-usage", { lease })()).toMatchObject({ final: true });
    for (const [who, which] of [
      [client("bob"), lease],
      [ada, lease + 1],
    ] as const)
      expect(who.ask("get-usage", { lease: which })()).toMatchObject({ code: "RFAAS_LEASE_LOST" });
  });

  test("has its calls aborted by its own client alone", () => {
    const { leased, client } = node();
    const { client: ada, host, lease } = leased();
    const abort = { t: "abort", lease, worker: 0, slot: 1, sequence: 7 };
    client("bob").say(abort);
    expect(host.told).toEqual([]);
    ada.say(abort);
    expect(host.told).toEqual(["host-abort"]);
  });
});

describe("a request is denied", () => {
  test.each<[string, object, string]>([
    ["with more workers than a lease can have", { workers: 100_000 }, "RFAAS_NODE_FULL"],
    ["with slots that are no power of two", { slots: 3 }, "RFAAS_USAGE"],
    ["over a fabric that the node lacks", { fabric: "verbs" }, "RFAAS_NO_SHARED_FABRIC"],
    ["without a place for its memory", { mailbox: null }, "RFAAS_PROTOCOL"],
    ["with more cores than the node has", { workers: 5 }, "RFAAS_NODE_FULL"],
    ["for what is no module", { module: "./fn.ts" }, "RFAAS_USAGE"],
  ])("%s, and takes nothing", (_, more, code) => {
    const { agent, client } = node();
    expect(client().allocate(more)()).toMatchObject({ t: "failed", code });
    expect(agent.free).toEqual({ cores: 4, memoryBytes: 64 * MIB });
    expect(agent.leaseCount).toBe(0);
  });

  test("for another project than that of its token, which is billed, as is what a client names by itself", () => {
    const { client, hosts, bills } = node();
    const cleo = client("cleo");
    expect(cleo.allocate({ project: "genome" })()).toMatchObject({
      code: "RFAAS_FORBIDDEN",
      message: expect.stringMatching(/is for the project climate and not for genome; .*--project/),
    });
    for (const [who, more, project] of [
      [cleo, {}, "climate"],
      [cleo, { project: "climate" }, "climate"],
      [client("ada"), { project: "genome" }, "genome"],
      [client("ada"), {}, undefined],
    ] as const) {
      who.allocate(more);
      gone(hosts.at(-1)!);
      expect(bills.at(-1)).toMatchObject({ user: who === cleo ? "cleo" : "ada" });
      expect(bills.at(-1)!.project).toBe(project);
    }
  });

  test("by a token that is not good for it", () => {
    const { agent, client, hosts } = node();
    expect(client("late").allocate()()).toMatchObject({ code: "RFAAS_FORBIDDEN" });
    const bob = client("bob");
    const limit = { shared: false, cores: 1 };
    expect(bob.allocate({ workers: 2 })()).toMatchObject({
      ...{ code: "RFAAS_TOKEN_LIMIT", limit: { ...limit, passes: false } },
    });
    const first = bob.allocate();
    expect(bob.allocate()()).toMatchObject({
      ...{ code: "RFAAS_TOKEN_LIMIT", limit: { ...limit, passes: true } },
    });
    hosts[0]!.load();
    drainMicrotasks();
    bob.ask("release", { lease: first()!["lease"] });
    gone(hosts[0]!);
    expect(bob.allocate()()).toBeUndefined();
    expect(agent.leaseCount).toBe(1);
  });

  test("for the reason of the node, until it grants again", () => {
    const { agent, client } = node();
    agent.refuse("the disk of the bills is full");
    const ada = client();
    expect(ada.allocate()()).toMatchObject({
      code: "RFAAS_NODE_REFUSES",
      message: "the disk of the bills is full",
    });
    agent.refuse(null);
    expect(ada.allocate()()).toBeUndefined();
  });

  test.each<[string, (host: PlayedHost) => void, string]>([
    [
      "its module does not load",
      (host) => host.request("attach").refuse("RFAAS_MODULE_FAILED", "it threw"),
      "RFAAS_MODULE_FAILED",
    ],
    [
      "its host dies as it loads",
      (host) => host.exit({ signal: "SIGSEGV" }),
      "RFAAS_MODULE_FAILED",
    ],
  ])("when %s", (_, happens, code) => {
    const { agent, hosts, client } = node();
    const answer = client().allocate();
    happens(hosts[0]!);
    drainMicrotasks();
    expect(answer()).toMatchObject({ t: "failed", code });
    gone(hosts[0]!);
    expect(agent.free.cores).toBe(4);
  });

  test("when its module is not loaded in time, though the host says nothing", () => {
    const { clock, hosts, client } = node();
    const answer = client().allocate({ loadTimeoutMs: 5000 });
    clock.pass(5000 + 20_000);
    expect(answer()).toBeUndefined();
    clock.pass(1);
    expect(answer()).toMatchObject({ code: "RFAAS_MODULE_TIMEOUT" });
    expect(hosts[0]!.killed).toBe(true);
  });

  test("and withdrawn, before its host is there and after", () => {
    const { agent, hosts, client } = node();
    const ada = client();
    ada.allocate();
    ada.say({ t: "withdraw", request: 1 });
    expect(hosts[0]!.told).toEqual(["detach"]);
    gone(hosts[0]!);
    expect(agent.free.cores).toBe(4);
  });
});

describe("a request that waits for room", () => {
  /** The requests of `clients`, on a node of one core that is leased. */
  const full = () => {
    const played = node({ cores: 1 });
    const { client, host, lease } = played.leased();
    const release = (): void => {
      client.ask("release", { lease });
      gone(host);
    };
    return { ...played, release };
  };
  const WAIT = { waitMs: 1000 };

  test("is granted as soon as there is some, the first that asked first", () => {
    const { client, hosts, release } = full();
    const ada = client();
    const [first, second] = [ada.allocate(WAIT), ada.allocate(WAIT)];
    expect([first(), second(), hosts.length]).toEqual([undefined, undefined, 1]);
    release();
    hosts[1]!.load();
    drainMicrotasks();
    expect(first()).toMatchObject({ t: "allocate-reply" });
    expect(second()).toBeUndefined();
  });

  test("is refused when its time is up, and when the node drains", () => {
    const { agent, client, clock } = full();
    const ada = client();
    const short = ada.allocate({ waitMs: 500 });
    const long = ada.allocate(WAIT);
    clock.pass(500);
    drainMicrotasks();
    expect(short()).toMatchObject({ t: "failed", code: "RFAAS_NODE_FULL" });
    expect(long()).toBeUndefined();
    agent.revoke(1000, "drained");
    drainMicrotasks();
    expect(long()).toMatchObject({ t: "failed", code: "RFAAS_NODE_DRAINING" });
  });

  test("does not wait for what the node has not, and is not overtaken by one that does not wait", () => {
    const { client, hosts, agent } = node({ cores: 2 });
    const ada = client();
    expect(ada.allocate({ ...WAIT, workers: 3 })()).toMatchObject({ code: "RFAAS_NODE_FULL" });
    ada.allocate();
    const large = ada.allocate({ ...WAIT, workers: 2 });
    expect(client("bob").allocate()()).toMatchObject({
      code: "RFAAS_NODE_FULL",
      message: expect.stringContaining("others wait for room"),
    });
    expect([agent.free.cores, hosts.length, large()]).toEqual([1, 1, undefined]);
  });

  test("leaves with its client, and when it is withdrawn", () => {
    const { client, hosts, release } = full();
    const [ada, bob] = [client(), client("bob")];
    ada.allocate(WAIT);
    ada.say({ t: "withdraw", request: 1 });
    bob.allocate(WAIT);
    bob.leave();
    const last = ada.allocate(WAIT);
    release();
    expect(hosts).toHaveLength(2);
    hosts[1]!.load();
    drainMicrotasks();
    expect(last()).toMatchObject({ t: "allocate-reply" });
  });
});

describe("a host that is to be kept", () => {
  const KEEP = { keepWarmMs: 1000 };
  /** A node whose one host rests after a lease of ada's. */
  const rested = (more: object = {}) => {
    const played = node();
    const { client, host, lease } = played.leased({ ...KEEP, ...more });
    const released = client.ask("release", { lease });
    host.request("rest").reply({ left: null });
    drainMicrotasks();
    return { ...played, ada: client, host, lease, released };
  };

  test("rests when its lease is released, which is over then, with its share and its bill", () => {
    const { agent, host, released, bills, ada } = rested();
    expect([host.killed, host.told]).toEqual([false, []]);
    expect(released()).toMatchObject({ t: "release-reply" });
    expect(agent.free).toEqual({ cores: 4, memoryBytes: 64 * MIB });
    expect(bills.at(-1)).toMatchObject({ ended: { reason: "released" } });
    expect(ada.ask("get-status")()).toMatchObject({ leases: 0, keptHosts: 1 });
    expect(ada.ask("list-leases")()).toMatchObject({ total: 0, keptHosts: 1 });
  });

  test("serves the next lease at once, which does not wait for it", () => {
    const { hosts, host, ada } = rested();
    const answer = ada.allocate(KEEP);
    expect(answer()).toMatchObject({ t: "allocate-reply", kept: true, prewarmed: false });
    expect(hosts).toHaveLength(1);
    expect(host.asked.map(({ name }) => name)).toEqual(["attach", "rest"]);
    expect(ada.ask("get-status")()).toMatchObject({ leases: 1, keptHosts: 0 });
  });

  test("has nothing that waits for its end for each lease that it has served", () => {
    const { host, ada } = rested();
    const waiting = spyOn(host.exited, "then");
    for (let i = 0; i < 10; i++) {
      const { lease } = ada.allocate(KEEP)() as { lease: number };
      ada.ask("release", { lease });
      host.request("rest").reply({ left: null });
      drainMicrotasks();
    }
    expect(host.asked.filter(({ name }) => name === "rest")).toHaveLength(11);
    expect(waiting).not.toHaveBeenCalled();
  });

  test("serves leases of its user, module and shape alone, that ask for it", () => {
    const { hosts, client, ada } = rested();
    client("bob").allocate(KEEP);
    const others = [{ workers: 2 }, { slots: 8 }, { memoryBytes: 2 * MIB }, { polling: "hot" }];
    for (const other of others) {
      ada.allocate({ ...KEEP, ...other });
      gone(hosts.at(-1)!);
    }
    ada.allocate();
    expect(hosts).toHaveLength(7);
    expect(hosts[0]!.asked).toHaveLength(2);
  });

  test("is let go when its functions have left something, and its lease is over when it is gone", () => {
    const { leased, log, agent } = node();
    const { client, host, lease } = leased(KEEP);
    client.ask("release", { lease });
    host.request("rest").reply({ left: "a timer" });
    drainMicrotasks();
    expect(host.told).toEqual(["detach"]);
    expect(log).toContain(
      `info: lease ${lease}: its host is not kept, since functions left a timer`,
    );
    expect(agent.free.cores).toBe(3);
    gone(host);
    expect(agent.free.cores).toBe(4);
  });

  test("is ended by force when it does not come to rest", () => {
    const { clock, leased } = node();
    const { client, host, lease } = leased(KEEP);
    client.ask("release", { lease });
    clock.pass(499);
    expect(host.killed).toBe(false);
    clock.pass(1);
    expect(host.killed).toBe(true);
  });

  test("that comes to rest when it is ended already is not kept", () => {
    const { clock, leased, agent } = node();
    const { client, host, lease } = leased(KEEP);
    client.ask("release", { lease });
    clock.pass(500);
    host.request("rest").reply({ left: null });
    drainMicrotasks();
    expect(client.ask("get-status")()).toMatchObject({ leases: 1, keptHosts: 0 });
    gone(host);
    expect(client.ask("get-status")()).toMatchObject({ leases: 0, keptHosts: 0 });
    expect(agent.free.cores).toBe(4);
  });

  test("is kept with the module that it has when another build comes after the release", async () => {
    const packages = new PackageStore();
    let held = 0;
    packages.use = async () => (held++, { path: "/next.js", name: "next.ts", end: () => held-- });
    const { leased, agent } = node({ packages });
    const { client, host, lease } = leased({ ...KEEP, origin: "next.ts" });
    client.ask("release", { lease });
    expect(await agent.reload("next.ts", "0".repeat(64))).toBe(0);
    host.request("rest").reply({ left: null });
    drainMicrotasks();
    expect(client.ask("get-status")()).toMatchObject({ leases: 0, keptHosts: 1 });
    expect([held, host.asked.map(({ name }) => name)]).toEqual([0, ["attach", "rest"]]);
  });

  test("and does not come to rest has time to dispose of what its module has", () => {
    const { clock, client, hosts } = node();
    const one = client();
    const answer = one.allocate(KEEP);
    const host = hosts.at(-1)!;
    host.load({ disposes: true });
    drainMicrotasks();
    one.ask("release", { lease: answer()!["lease"] });
    clock.pass(500);
    expect([host.told, host.killed]).toEqual([["detach"], false]);
    clock.pass(2499);
    expect(host.killed).toBe(false);
    clock.pass(1);
    expect(host.killed).toBe(true);
  });

  test("ends when its time is over, and when the node drains", () => {
    const timed = rested();
    timed.clock.pass(999);
    expect(timed.host.told).toEqual([]);
    timed.clock.pass(2);
    expect(timed.host.told).toEqual(["detach"]);
    timed.clock.pass(100);
    expect(timed.host.killed).toBe(true);

    const drained = rested();
    drained.agent.revoke(1000, "drained");
    expect(drained.host.told).toEqual(["detach"]);
  });

  test("ends when another lease takes the memory that it has, and not before", () => {
    const { host, ada, client } = rested();
    ada.allocate({ memoryBytes: 55 * MIB });
    expect(host.told).toEqual([]);
    client("bob").allocate({ memoryBytes: MIB });
    expect(host.told).toEqual(["detach"]);
  });

  test("is not kept once the node drains", () => {
    const { agent, leased } = node();
    const { client, host, lease } = leased(KEEP);
    agent.revoke(10_000, "drained");
    client.ask("release", { lease });
    expect(host.told).toEqual(["ends-in", "detach"]);
  });

  test("is not kept where its client connects, though that has a mailbox", () => {
    const { leased } = node({ fabric: "tcp" });
    const { client, host, lease } = leased({ ...KEEP, fabric: "tcp" });
    expect(host.request("attach").fields).toMatchObject({ keepWarm: false });
    client.ask("release", { lease });
    expect(host.told).toEqual(["detach"]);
  });

  test("is not kept when its lease ends in any other way", () => {
    const { clock, leased } = node();
    const expired = leased(KEEP);
    clock.pass(3001);
    expect(expired.host.killed).toBe(true);
    const left = leased(KEEP);
    left.client.leave();
    expect(left.host.killed).toBe(true);
    for (const { host } of [expired, left]) expect(host.told).toEqual([]);
  });

  test("is news as it begins to be kept, and as it dies", () => {
    const { agent, host, changes } = rested();
    expect(agent.keptHosts).toBe(1);
    const before = changes();
    gone(host);
    expect(agent.keptHosts).toBe(0);
    expect(changes()).toBe(before + 1);
  });

  test("that computes while it is kept is ended, and the log says so", () => {
    const { agent, clock, host, log } = rested();
    // It is played in this process.
    const before = process.cpuUsage().user;
    while (process.cpuUsage().user - before < 400_000) for (let i = 0; i < 1e6; i++);
    clock.pass(500);
    expect(host.killed).toBe(true);
    expect(log.at(-1)).toMatch(
      /^warn: a kept host is ended: while it had no lease, it has computed for \d+ ms$/,
    );
    expect(agent.keptHosts).toBe(0);
    gone(host);
  });

  test("says no more to the node's log in a second while it is kept than its leases do", () => {
    const line = {
      worker: 0,
      level: "warn",
      message: "a",
      data: null,
      atMs: 1,
      dropped: 0,
    } as const;
    const { host, log } = rested();
    const before = log.length;
    for (let i = 0; i < 1000; i++) host.say({ t: "host-log", line });
    host.say({ t: "worker-ended", worker: 0, message: "it broke" });
    expect(log.slice(before)).toEqual(Array(200).fill('info: a kept host: "a"'));
    const { leased, log: other } = node();
    const { host: busy } = leased();
    for (let i = 0; i < 1000; i++) busy.say({ t: "worker-ended", worker: 0, message: "it broke" });
    expect(other.filter((said) => said.includes("it broke"))).toHaveLength(200);
  });

  test("that dies while it is kept is forgotten", () => {
    const { host, hosts, ada } = rested();
    gone(host);
    expect(ada.ask("get-status")()).toMatchObject({ keptHosts: 0 });
    ada.allocate(KEEP);
    expect(hosts).toHaveLength(2);
  });

  test("that has died is not given to a lease, though the node has not heard of it yet", () => {
    const { host, hosts, ada } = rested();
    host.alive = false;
    ada.allocate(KEEP);
    expect(hosts).toHaveLength(2);
    expect(host.asked.map(({ name }) => name)).toEqual(["attach", "rest"]);
    gone(host);
    expect(ada.ask("get-status")()).toMatchObject({ leases: 1, keptHosts: 0 });
  });

  test("is given the next lease's memory as it comes to rest, which the next client gets", () => {
    const { host, ada } = rested();
    expect(host.descriptors("rest")).toBe(4);
    const { nonce } = ada.allocate(KEEP)()!;
    expect(host.descriptors("rest")).toBe(0);
    const fds = ada.mailbox.receive(nonce as Uint8Array)!;
    for (const fd of fds) closeDescriptor(fd);
    expect(fds).toHaveLength(4);
  });

  test("hears of the next lease over the sockets of its workers, before its client does", () => {
    const { host, ada } = rested({ workers: 2, coresPerWorker: 2 });
    const [memory, client, ...workers] = host.received("rest");
    const { lease } = ada.allocate({ ...KEEP, workers: 2, coresPerWorker: 2, loadTimeoutMs: 7 })()!;
    for (const watch of [workers[0]!, workers[2]!]) {
      const line = Buffer.alloc(500);
      const order = JSON.parse(line.toString("utf8", 0, readSync(watch, line)));
      expect(order).toMatchObject({ lease, cpus: [-1, -1, -1, -1], loadTimeoutMs: 7 });
      expect(order.mask).toBeArray();
    }
    for (const fd of [memory!, client!, ...workers]) closeDescriptor(fd);
  });

  test("is let go where it cannot be given that memory", () => {
    const { leased, log } = node();
    const { client, host, lease } = leased(KEEP);
    host.closeMailbox();
    client.ask("release", { lease });
    expect([host.told, host.asked.map(({ name }) => name)]).toEqual([["detach"], ["attach"]]);
    expect(log.at(-1)).toContain("too little memory for another lease");
  });

  test("that dies before it has resumed loses the lease that it was given to", () => {
    const { host, ada } = rested();
    const lease = ada.allocate(KEEP)()!["lease"];
    gone(host);
    expect(ada.heard.at(-1)).toMatchObject({ t: "lost", lease });
  });

  test("does not resume for a client that cannot be reached", () => {
    const { host, ada } = rested();
    const answer = ada.allocate({ ...KEEP, mailbox: new TextEncoder().encode("nobox") });
    expect(answer()).toMatchObject({ t: "failed", code: "RFAAS_NO_SHARED_FABRIC" });
    expect([host.told, host.killed]).toEqual([[], true]);
  });
});

describe("a node", () => {
  test("that drains grants nothing, says so to its clients, and takes leases back at the deadline", async () => {
    const { agent, clock, leased, client } = node();
    const { client: ada, host } = leased({ ttlMs: 60_000 });
    const drained = agent.drain(1000);
    expect(agent.draining).toBe(true);
    expect(ada.heard.slice(-2)).toMatchObject([
      { t: "draining" },
      { t: "revoking", deadlineInMs: 1000 },
    ]);
    expect(client().allocate()()).toMatchObject({ code: "RFAAS_NODE_DRAINING" });
    clock.pass(1001);
    expect(host.killed).toBe(true);
    gone(host);
    await drained;
    // One that stops does not serve again.
    agent.resume();
    expect(agent.draining).toBe(true);
  });

  test("that is wanted back and then not serves again", () => {
    const { agent, client } = node();
    agent.revoke(1000, "drained");
    agent.resume();
    expect(client().allocate()()).toBeUndefined();
    expect(agent.leaseCount).toBe(1);
  });

  test("that stops tells the clients of all leases", () => {
    const { agent, leased } = node();
    const { client, host } = leased();
    agent.stop();
    expect(client.heard.at(-1)).toMatchObject({
      t: "lost",
      message: "the node stopped before the lease was released",
    });
    expect(host.killed).toBe(true);
  });

  test("says what it has free, and which leases there are, in full to those whose they are", () => {
    const { leased, client, changes } = node({ prewarm: 1 });
    const before = changes();
    const { client: ada, lease } = leased();
    expect(changes()).toBeGreaterThan(before);
    expect(ada.ask("get-status")()).toMatchObject({ freeCores: 3, leases: 1 });
    expect(ada.ask("list-leases")()).toMatchObject({ total: 1, freeCores: 3, shown: [{ lease }] });
    expect(client("bob").ask("list-leases")()).toMatchObject({ total: 1 });
  });

  test("lets no client in that it does not know", () => {
    const { client, log } = node();
    const stranger = client("nobody");
    expect(stranger.heard).toMatchObject([
      { t: "refused", code: "RFAAS_FORBIDDEN", message: "who are you?" },
    ]);
    expect(log).toEqual([]);
  });

  test("gives a lease the host that waits, and has another one ready soon after", () => {
    const { clock, hosts, leased } = node({ prewarm: 1 });
    drainMicrotasks();
    expect(hosts).toHaveLength(1);
    const { client } = leased();
    expect(client.heard.at(-1)).toMatchObject({ t: "allocate-reply", prewarmed: true });
    clock.pass(25);
    expect(hosts).toHaveLength(2);
  });
});
