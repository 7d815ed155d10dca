/** A manager, nodes and clients over real sockets: what clients learn, what bills survive, what bad peers get. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { ManagerSubscription } from "../../src/client/cluster/manager-link.ts";
import { LeaseRefused, NodeUnreachable, UsageError } from "../../src/base/errors.ts";
import type { ManagerLinkEvents } from "../../src/executor/accounts/link-options.ts";
import { ManagerLink } from "../../src/executor/accounts/manager-link.ts";
import {
  type Admitted,
  NoTokens,
  SignedTokens,
  type TokenCheck,
} from "../../src/manager/tokens/keys.ts";
import { Ledger } from "../../src/manager/ledger/ledger.ts";
import { Registry } from "../../src/manager/nodes/registry.ts";
import { ManagerServer } from "../../src/manager/server.ts";
import type { LedgerSink } from "../../src/manager/ledger/usage-intake.ts";
import { encodeFrame } from "../../src/protocol/frame.ts";
import {
  MANAGER_PROTOCOL_VERSION,
  MAX_PART_ENTRIES,
  type UsageReport,
} from "../../src/protocol/manager-messages.ts";
import type { Scope } from "../../src/protocol/token.ts";
import { RawPeer } from "../support/raw-peer.ts";
import { Scratch } from "../support/scratch.ts";
import { SigningCluster } from "../support/tokens.ts";
import { until } from "../support/until.ts";

const GIB = 1024 ** 3;

/** Keeps the newest report of each lease, or fails. */
class MemoryLedger implements LedgerSink {
  readonly reports = new Map<string, UsageReport>();
  failure: Error | undefined;

  record(reports: readonly UsageReport[]): void {
    if (this.failure) throw this.failure;
    for (const report of reports) this.reports.set(report.lease, report);
  }
}

const closers: (() => unknown)[] = [];
let registry: Registry;
let ledger: MemoryLedger;
let server: ManagerServer;
let logged: string[];

function newServer(address = "127.0.0.1:0", sink: LedgerSink = ledger, tokens?: TokenCheck) {
  registry = new Registry();
  server = new ManagerServer(address, {
    registry,
    ledger: sink,
    tokens: tokens ?? new NoTokens(),
    log: (_, message) => logged.push(message),
  });
  const started = server;
  closers.push(() => started.close());
  return server;
}

beforeEach(() => {
  logged = [];
  ledger = new MemoryLedger();
  newServer();
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const announcement = (name = "n1", more: object = {}) => ({
  name,
  instance: `${name}-first`,
  address: "10.0.0.1:7700",
  cores: 8,
  memoryBytes: 16 * GIB,
  fabrics: ["shm"],
  machine: "m1",
  token: null,
  ...more,
});
const announce = (name = "n1", more: object = {}) => ({
  t: "announce",
  protocol: MANAGER_PROTOCOL_VERSION,
  version: "1.2.3",
  settling: false,
  ...announcement(name),
  ...more,
});
const subscribe = (more: object = {}) => ({
  t: "subscribe",
  protocol: MANAGER_PROTOCOL_VERSION,
  version: "1.2.3",
  token: null,
  ...more,
});
const capacity = (freeCores: number, draining = false) => ({
  freeCores,
  freeMemoryBytes: GIB,
  leases: 8 - freeCores,
  draining,
});

const BEGAN_MS = Date.now() - 60_000;

function bill(number: number, calls: number, more: Partial<UsageReport> = {}): UsageReport {
  return {
    lease: `n1-first/${number}`,
    node: "n1",
    user: "ada",
    workers: 2,
    startedAtMs: BEGAN_MS,
    endedAtMs: null,
    reason: null,
    usage: { allocationCoreNs: calls * 10, executionNs: calls, pollingNs: 0, calls, bytes: calls },
    ...more,
  };
}
const ended = { endedAtMs: BEGAN_MS + 1000, reason: "released" };

interface Node {
  link: ManagerLink;
  told: string[];
}

function newNode(name = "n1", more: object = {}, address = server.address): Node {
  const told: string[] = [];
  const events: ManagerLinkEvents = {
    drain: (deadlineMs) => told.push(`drain ${deadlineMs}`),
    resume: () => told.push("resume"),
    removed: () => told.push("removed"),
    key: (publicKey) => told.push(`key ${publicKey}`),
    ledger: (problem) => told.push(`ledger ${problem}`),
    log: (_, message) => told.push(message),
  };
  const link = new ManagerLink({ manager: address, announce: announcement(name, more), events });
  closers.push(() => link.leave());
  return { link, told };
}

async function newClient(address = server.address): Promise<ManagerSubscription> {
  const client = await ManagerSubscription.connect(address);
  closers.push(() => client.close());
  return client;
}

async function newPeer(...messages: unknown[]): Promise<RawPeer> {
  const peer = await RawPeer.connect(server.address);
  closers.push(() => peer[Symbol.dispose]());
  peer.send(...messages);
  return peer;
}

const heard = (peer: RawPeer, t: string) => until(() => peer.find(t) !== undefined, `hears ${t}`);

async function refused(peer: RawPeer): Promise<string> {
  await until(() => peer.closed, "the connection is closed");
  return String(peer.find("refused")?.["message"]);
}

describe("a client learns", () => {
  test("of a node that joins, fills up, drains, serves again and leaves", async () => {
    const client = await newClient();
    expect(client.nodes.size).toBe(0);
    const { link } = newNode();
    await until(() => client.nodes.get("n1")?.freeCores === 8, "the node is there");
    expect(client.nodes.get("n1")).toMatchObject({
      instance: "n1-first",
      address: "10.0.0.1:7700",
      memoryBytes: 16 * GIB,
      state: "up",
    });

    link.capacity(capacity(0));
    await until(() => client.nodes.get("n1")?.freeCores === 0, "the node is full");
    link.capacity(capacity(0, true));
    await until(() => client.nodes.get("n1")?.state === "draining", "the node drains");
    link.capacity(capacity(8));
    await until(() => client.nodes.get("n1")?.state === "up", "the node serves again");
    await link.leave();
    await until(() => !client.nodes.has("n1"), "the node is gone");
  });

  test("of a node that dies, at once", async () => {
    const client = await newClient();
    const node = await newPeer(announce());
    await until(() => client.nodes.get("n1")?.state === "up", "the node is up");
    node.die();
    await until(() => client.nodes.get("n1")?.state === "down", "the node is down");
  });

  test("of a node that says nothing any more", async () => {
    const client = await newClient();
    const node = await newPeer(announce());
    await until(() => client.nodes.get("n1")?.state === "up", "the node is up");
    await until(() => client.nodes.get("n1")?.state === "down", "the node is down");
    await until(() => node.closed, "its connection is closed");
  });

  test("the whole list first, however long", async () => {
    const names = Array.from({ length: 2 * MAX_PART_ENTRIES + 1 }, (_, i) => `n${i}`);
    for (const name of names) registry.expect({ name, address: "", cores: 4, memoryBytes: GIB });
    const client = await newClient();
    expect([...client.nodes.keys()]).toEqual(names);
    for (const name of names) registry.remove(name);
    await until(() => client.nodes.size === 0, "all are gone");
  });

  test("of many changes at once, each node in its last state", async () => {
    const client = await newClient();
    const { link } = newNode();
    await until(() => client.nodes.get("n1")?.freeCores === 8, "the node is there");
    const seen: number[] = [];
    client.onChange(({ changed }) => seen.push(...changed.map(({ freeCores }) => freeCores)));
    for (let freeCores = 7; freeCores >= 0; freeCores--) link.capacity(capacity(freeCores));
    await until(() => client.nodes.get("n1")?.freeCores === 0, "the last state came");
    expect(seen).toEqual([0]);
  });

  test("which leases go on", async () => {
    const client = await newClient();
    const { link } = newNode();
    expect(await client.leases()).toEqual([]);
    link.usage([bill(1, 5), bill(2, 7)]);
    await until(() => ledger.reports.size === 2, "the reports are saved");
    expect(await client.leases()).toEqual([bill(1, 5), bill(2, 7)]);
    link.usage([bill(1, 9, ended)]);
    await until(() => ledger.reports.get("n1-first/1")?.endedAtMs !== null, "the end is saved");
    expect(await client.leases()).toEqual([bill(2, 7)]);
  });
});

describe("a subscription", () => {
  test("keeps the last known list while there is no manager, and brings it up to date after", async () => {
    registry.expect({ name: "old", address: "", cores: 1, memoryBytes: GIB });
    const client = await newClient();
    const { address } = server;
    server.close();
    await until(() => !client.connected, "the loss is noticed");
    expect([...client.nodes.keys()]).toEqual(["old"]);
    await expect(client.leases()).rejects.toBeInstanceOf(NodeUnreachable);

    newServer(address);
    registry.expect({ name: "new", address: "", cores: 1, memoryBytes: GIB });
    await until(() => client.connected, "the manager is there again");
    expect([...client.nodes.keys()]).toEqual(["new"]);
  });

  test("does not begin where no manager is, and says how to start one", async () => {
    const { address } = server;
    server.close();
    const attempt = ManagerSubscription.connect(address);
    await expect(attempt).rejects.toBeInstanceOf(NodeUnreachable);
    await expect(attempt).rejects.toThrow(`start one with: rfaas manager --listen ${address}`);
    await expect(ManagerSubscription.connect("nowhere")).rejects.toBeInstanceOf(UsageError);
  });

  test("does not begin without the right token", async () => {
    server.close();
    const tokens: TokenCheck = {
      publicKey: "k",
      check: async (token) =>
        token === "good"
          ? { user: "ada", maxCores: null, seesAll: true, node: "n1" }
          : { refused: "wrong token; get one" },
    };
    newServer("127.0.0.1:0", ledger, tokens);
    const attempt = ManagerSubscription.connect(server.address, "bad");
    await expect(attempt).rejects.toBeInstanceOf(LeaseRefused);
    await expect(attempt).rejects.toThrow("wrong token; get one");
    (await ManagerSubscription.connect(server.address, "good")).close();

    const { told } = newNode("n1", { token: "bad" });
    await until(() => told.some((line) => line.includes("wrong token")), "the node is refused");
    const good = newNode("n1", { token: "good" });
    await until(() => good.told.includes("key k"), "the node has the key");
  });

  test("hears what comes behind a greeting once its token has been checked, of those that stay", async () => {
    server.close();
    const verdict = Promise.withResolvers<Admitted>();
    const asked: (string | null)[] = [];
    const tokens: TokenCheck = {
      publicKey: "k",
      check(token) {
        asked.push(token);
        return verdict.promise;
      },
    };
    newServer("127.0.0.1:0", ledger, tokens);
    using stays = await RawPeer.connect(server.address);
    stays.send(announce("n1", { token: "1" }), { t: "capacity", ...capacity(3) });
    using goes = await RawPeer.connect(server.address);
    goes.send(announce("n2", { token: "2" }));
    await until(() => asked.includes("1") && asked.includes("2"), "both have greeted");
    goes.die();
    await until(() => server.connectionCount === 1, "one has gone");
    expect(registry.size).toBe(0);
    verdict.resolve({ user: "rack", maxCores: null, seesAll: true, node: "n1" });
    await until(() => registry.get("n1")?.freeCores === 3, "what it has free was heard");
    expect(stays.heard[0]).toMatchObject({ t: "accepted", name: "n1", publicKey: "k" });
    expect(registry.get("n2")).toBeUndefined();
  });

  test("shows leases to whoever may look, and to a user his own", async () => {
    server.close();
    const cluster = new SigningCluster();
    newServer("127.0.0.1:0", ledger, new SignedTokens(cluster.publicKey));
    const token = (user: string, ...scopes: Scope[]) => cluster.token({ user, scopes });
    const rack = await cluster.token({ user: "rack", scopes: ["node"], node: "n1" });
    const node = newNode("n1", { token: rack });
    await until(() => node.told.some((line) => line.startsWith("key")), "the node is in");
    node.link.usage([bill(1, 1, { user: "alice" }), bill(2, 1, { user: "bob" })]);
    const seen = async (user: string, ...scopes: Scope[]): Promise<string[]> => {
      using client = await ManagerSubscription.connect(
        server.address,
        await token(user, ...scopes),
      );
      return (await client.leases()).map(({ user }) => user).sort();
    };
    await until(async () => (await seen("root", "admin")).length === 2, "both bills have come");
    expect(await seen("dashboard", "read")).toEqual(["alice", "bob"]);
    expect(await seen("alice", "client", "read")).toEqual(["alice"]);
    await expect(seen("alice", "client")).rejects.toThrow("not for read");
    await expect(seen("rack", "node")).rejects.toThrow("not for client");
  });

  test("does not keep a program alive", async () => {
    const source = `
      import { ManagerSubscription } from ${JSON.stringify(join(import.meta.dir, "../../src/client/cluster/manager-link.ts"))};
      const client = await ManagerSubscription.connect(${JSON.stringify(server.address)});
      process.stdout.write(\`\${client.nodes.size} nodes, \${(await client.leases()).length} leases\`);`;
    const child = Bun.spawn([process.execPath, "-e", source], { stdout: "pipe" });
    expect(await new Response(child.stdout).text()).toBe("0 nodes, 0 leases");
    expect(await child.exited).toBe(0);
  });
});

describe("bills", () => {
  test("are confirmed when they are in the ledger, and kept by the node until then", async () => {
    ledger.failure = new Error("the disk is full");
    const { link, told } = newNode();
    link.usage([bill(1, 5, ended), bill(2, 5)]);
    await until(() => told.includes("ledger the disk is full"), "the node hears of it");
    expect(link.unsavedCount).toBe(2);
    expect(ledger.reports.size).toBe(0);
    const warnings = () => logged.filter((line) => line.includes("the disk is full"));
    link.usage([bill(2, 8)]);
    ledger.failure = undefined;
    await until(() => link.unsavedCount === 0, "they are saved");
    expect(warnings()).toHaveLength(1);
    expect(told).toContain("ledger null");
    expect(ledger.reports.get("n1-first/1")).toEqual(bill(1, 5, ended));
    expect(ledger.reports.get("n1-first/2")).toEqual(bill(2, 8));
  });

  test("survive the manager, and none is doubled", async () => {
    server.close();
    using scratch = new Scratch();
    using kept = Ledger.open(scratch.join("ledger.sqlite"));
    newServer("127.0.0.1:0", kept);
    const { address } = server;
    const { link } = newNode();
    link.usage([bill(1, 5, ended), bill(2, 5)]);
    await until(() => link.unsavedCount === 0, "the first are saved");
    server.close();
    await until(() => !link.connected, "the loss is noticed");
    link.usage([bill(2, 9, ended), bill(3, 1)]);
    link.usage([bill(3, 2)]);

    newServer(address, kept);
    await until(() => link.connected && link.unsavedCount === 0, "the others are saved");
    expect(kept.bill()).toMatchObject([{ user: "ada", leases: 3, calls: 16n, executionNs: 16n }]);
    expect(server.leases()).toEqual([bill(3, 2)]);
    await link.leave();
  });

  test("come by message where there are no counters to add to, and the manager counts those", async () => {
    const node = await newPeer(announce("n1", { fabrics: ["verbs"] }), {
      ...{ t: "get-counters", id: 1, fabric: "verbs" },
    });
    const answer = (id: number) => node.heard.find((message) => message["id"] === id);
    await until(() => answer(1) !== undefined, "the manager answers");
    const none = { ledger: "messages", ledgerAdds: 0, usageMessages: 0 } as const;
    expect(server.ledgerOf("n1")).toEqual(none);
    expect(server.ledgerOf("nobody")).toEqual(none);
    // A lease that nobody knows has no row.
    node.send({ t: "bind-row", id: 2, row: 0, lease: "n1-first/9" });
    node.send({ t: "report-usage", id: 3, reports: [bill(1, 5)] });
    await until(() => answer(3) !== undefined, "the bill is saved");
    expect(answer(2)).toMatchObject({ t: "failed", code: "RFAAS_NO_COUNTERS" });
    node.send({ t: "bind-row", id: 4, row: 4096, lease: "n1-first/1" });
    node.send({ t: "report-usage", id: 5, reports: [bill(1, 7, ended)] });
    await until(() => ledger.reports.get("n1-first/1")?.usage.calls === 7, "the end is saved");
    expect(answer(4)).toMatchObject({ t: "failed", code: "RFAAS_NO_COUNTERS" });
    expect(server.ledgerOf("n1")).toEqual({ ...none, usageMessages: 2 });
    expect(node.closed).toBe(false);
  });

  test("are told again to a manager that comes back empty", async () => {
    const { address } = server;
    const { link } = newNode();
    link.usage([bill(1, 5)]);
    await until(() => link.unsavedCount === 0, "it is saved");
    server.close();
    ledger.reports.clear();
    newServer(address);
    await until(() => ledger.reports.size === 1, "it is told again");
    expect(registry.get("n1")?.state).toBe("up");
  });

  test("in great number arrive one part after another", async () => {
    const { link } = newNode();
    const bills = Array.from({ length: 3 * MAX_PART_ENTRIES + 7 }, (_, i) => bill(i, i, ended));
    link.usage(bills);
    await link.leave();
    expect([...ledger.reports.values()]).toEqual(bills);
  });

  test("are handed in before a node leaves", async () => {
    const { link } = newNode();
    await until(() => link.connected, "the node is known");
    link.usage([bill(1, 5, ended)]);
    await link.leave();
    expect(ledger.reports.get("n1-first/1")).toEqual(bill(1, 5, ended));
    await until(() => registry.size === 0, "the node is gone");
  });

  test("of a node whose last report is an end are not opened again", async () => {
    ledger.failure = new Error("the disk is full");
    const { link } = newNode();
    link.usage([bill(1, 5, ended)]);
    link.usage([bill(1, 4)]);
    ledger.failure = undefined;
    await until(() => link.unsavedCount === 0, "it is saved");
    expect(ledger.reports.get("n1-first/1")).toEqual(bill(1, 5, ended));
  });

  test("of another node's leases are refused", async () => {
    for (const more of [{ node: "n2" }, { lease: "n2-first/1" }]) {
      const peer = await newPeer(announce(), {
        t: "report-usage",
        id: 1,
        reports: [bill(1, 5, more)],
      });
      expect(await refused(peer)).toContain("is not of node n1");
    }
    expect(ledger.reports.size).toBe(0);
  });
});

describe("the manager tells a node", () => {
  test("to drain and to serve again", async () => {
    const { told } = newNode();
    await until(() => registry.get("n1")?.state === "up", "the node is up");
    expect(server.drain("n1", 30_000)).toBe(true);
    await until(() => told.includes("drain 30000"), "it drains");
    expect(registry.get("n1")?.state).toBe("draining");
    expect(server.resume("n1")).toBe(true);
    await until(() => told.includes("resume"), "it serves again");
    expect(registry.get("n1")?.state).toBe("up");
    expect([server.drain("x", 1), server.resume("x"), server.remove("x")]).toEqual(
      new Array(3).fill(false),
    );
  });

  test("to drain as soon as it comes, when that was wanted before", async () => {
    registry.expect({ name: "n1", address: "", cores: 8, memoryBytes: GIB });
    server.drain("n1", 0);
    const { told } = newNode();
    await until(() => told.includes("drain 0"), "it drains");
  });

  test("that it is out, and takes the bills of what it still had", async () => {
    const client = await newClient();
    const { link, told } = newNode();
    await until(() => client.nodes.has("n1"), "the node is there");
    expect(server.remove("n1")).toBe(true);
    await until(() => told.includes("removed"), "it knows");
    await until(() => !client.nodes.has("n1"), "it is gone");

    // Even over a new connection it is no node any more.
    const { address } = server;
    server.close();
    newServer(address);
    await until(() => !link.connected, "the loss is noticed");
    link.usage([bill(1, 5, ended)]);
    await until(() => ledger.reports.size === 1, "its bill is saved");
    expect(registry.size).toBe(0);
  });
});

describe("of two nodes with one name", () => {
  test("the second is refused, and taken when the first is gone", async () => {
    const first = newNode();
    await until(() => first.link.connected, "the first is known");
    const second = newNode("n1", { instance: "n1-second" });
    const message = "another node is already called n1; choose another --name";
    await until(() => second.told.some((line) => line.endsWith(message)), "it is refused");
    expect(second.told).toHaveLength(1);
    expect(registry.get("n1")?.instance).toBe("n1-first");
    await first.link.leave();
    await until(() => second.link.connected, "the second is known");
    expect(registry.get("n1")?.instance).toBe("n1-second");
  });

  test("the same instance takes the place of its old connection", async () => {
    const old = await newPeer(announce());
    await heard(old, "accepted");
    const fresh = await newPeer(announce());
    await heard(fresh, "accepted");
    await until(() => old.closed, "the old connection is closed");
    expect(registry.get("n1")?.state).toBe("up");
    expect(server.connectionCount).toBe(1);
  });
});

describe("a peer is refused with the reason", () => {
  const later = MANAGER_PROTOCOL_VERSION + 1;
  test.each<[string, object[], string]>([
    ["a node of a later version", [announce("n1", { protocol: later })], "update the manager"],
    ["a client of a later version", [subscribe({ protocol: later })], "update the manager"],
    ["0 cores", [announce("n1", { cores: 0 })], "a node has 1 to 1024 cores and not 0"],
    [
      "1e9 cores",
      [announce("n1", { cores: 1e9 })],
      "a node has 1 to 1024 cores and not 1000000000",
    ],
    ["a bad name", [announce("a b")], "a node's name is 1 to 128"],
    ["text for cores", [announce("n1", { cores: "8" })], "malformed at /cores"],
    ["no machine", [announce("n1", { machine: undefined })], "malformed at /machine"],
    ["a long token", [subscribe({ token: "x".repeat(9000) })], "malformed at /token"],
    ["no greeting", [{ t: "leaving" }], "the first message must be a greeting"],
    ["an unknown message", [{ t: "gossip" }], 'unknown control message "gossip"'],
    ["no type", [[1, 2]], "without a type"],
    ["a greeting that is replayed", [announce(), announce()], 'cannot say "announce"'],
    ["a node that asks", [announce(), { t: "list-leases", id: 1 }], 'cannot say "list-leases"'],
    ["a client that reports", [subscribe(), { t: "leaving" }], 'cannot say "leaving"'],
    ["a negative id", [announce(), { t: "report-usage", id: -1, reports: [] }], "at /id"],
    [
      "a negative sum",
      [announce(), { t: "report-usage", id: 1, reports: [bill(1, -1)] }],
      "malformed at /reports/0/usage",
    ],
    [
      "more free cores than anybody has",
      [announce(), { t: "capacity", ...capacity(8), freeCores: 1e9 }],
      "malformed at /freeCores",
    ],
  ])("%s", async (_, messages, reason) => {
    const peer = await newPeer(...messages);
    expect(await refused(peer)).toContain(reason);
    await until(() => server.connectionCount === 0, "nothing is left of it");
    expect(ledger.reports.size).toBe(0);
  });

  test("a frame of a gibibyte", async () => {
    const peer = await newPeer();
    const length = new Uint8Array(8);
    new DataView(length.buffer).setUint32(0, GIB, true);
    peer.write(length);
    expect(await refused(peer)).toContain(`a control frame of ${GIB} bytes is not allowed`);
  });

  test("a greeting without an end", async () => {
    const peer = await newPeer();
    const frame = new Uint8Array(256 * 1024);
    new DataView(frame.buffer).setUint32(0, 1024 * 1024, true);
    peer.write(frame);
    expect(await refused(peer)).toContain("the first message must be a greeting");
  });
});

test("half a frame, or nothing at all, by thousands, is closed in the end, and the others are served", async () => {
  const half = encodeFrame(announce("half")).subarray(0, 20);
  const idle: RawPeer[] = [];
  // No more at once than the system lets wait to be accepted.
  while (idle.length < 2000)
    idle.push(...(await Promise.all(Array.from({ length: 200 }, () => newPeer()))));
  for (const peer of idle.slice(0, 1000)) peer.write(half);
  const { link } = newNode();
  await until(() => link.connected, "a node is served meanwhile");
  await until(() => idle.every(({ closed }) => closed), "all are closed", 20_000);
  expect(server.connectionCount).toBe(1);
  expect(registry.nodes().map(({ name }) => name)).toEqual(["n1"]);
});

test("a node that starts before its manager joins when there is one, having said once that there is none", async () => {
  const { address } = server;
  server.close();
  const { link, told } = newNode("n1", {}, address);
  await until(() => told.length > 0, "it says so");
  link.capacity(capacity(3));
  newServer(address);
  await until(() => registry.get("n1")?.freeCores === 3, "it joins");
  expect(told.filter((line) => line.includes("no connection to the manager"))).toHaveLength(1);
});

test("a node whose manager's address is none is told at once", () => {
  expect(() => newNode("n1", {}, "nowhere")).toThrow(UsageError);
});
