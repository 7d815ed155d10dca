/** The manager of a cluster, with peers over memory, a time that the test lets pass, and the real registry, ledger intake and tokens. */
import { afterEach, describe, expect, test } from "bun:test";
import { Ledger } from "../../src/manager/ledger/ledger.ts";
import { Manager, type ManagerOptions } from "../../src/manager/manager.ts";
import { Registry } from "../../src/manager/nodes/registry.ts";
import { ManagerServer } from "../../src/manager/server.ts";
import type { TokenCheck } from "../../src/manager/tokens/keys.ts";
import { encodeFrame } from "../../src/protocol/frame.ts";
import {
  MANAGER_PROTOCOL_VERSION,
  MAX_PART_ENTRIES,
  type UsageReport,
} from "../../src/protocol/manager-messages.ts";
import { TestClock } from "../support/clock.ts";
import { MemoryPeer } from "../support/memory-peer.ts";
import { RawPeer } from "../support/raw-peer.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

/** By token: who it is, and what for. */
const TOKENS: Record<string, { user: string; seesAll: boolean; scopes: string[]; node?: string }> =
  {
    "node n1": { user: "node.n1", seesAll: false, scopes: ["node"], node: "n1" },
    "node a:1": { user: "node.a-1", seesAll: false, scopes: ["node"], node: "a:1" },
    "any node": { user: "ops", seesAll: false, scopes: ["node"] },
    ada: { user: "ada", seesAll: false, scopes: ["client", "read"] },
    root: { user: "root", seesAll: true, scopes: ["client", "read"] },
    looks: { user: "eve", seesAll: false, scopes: ["read"] },
    blind: { user: "blind", seesAll: false, scopes: ["client"] },
  };
const CHECKED: TokenCheck = {
  publicKey: "the key",
  async check(token, scope) {
    const known = token === null ? undefined : TOKENS[token];
    if (!known?.scopes.includes(scope)) return { refused: `no token for ${scope}; get one` };
    return { ...known, maxCores: null, expiresAtMs: null } as never;
  },
};
const OPEN: TokenCheck = {
  publicKey: null,
  check: async () => ({ user: "anyone", seesAll: true }) as never,
};

const running: Manager[] = [];
afterEach(() => {
  for (const manager of running.splice(0)) manager.close();
});

function cluster(
  tokens: TokenCheck = OPEN,
  more: Partial<Pick<ManagerOptions, "reach" | "ledger" | "lost">> = {},
) {
  const clock = new TestClock();
  const registry = new Registry();
  const saved: UsageReport[] = [];
  const log: string[] = [];
  const disk = { full: false };
  const manager = new Manager({
    ...{ registry, tokens, clock },
    ledger: {
      record(reports) {
        if (disk.full) throw new Error("the disk is full (ENOSPC)");
        saved.push(...reports);
      },
    },
    ...more,
    log: (level, message) => log.push(`${level}: ${message}`),
  });
  running.push(manager);
  /** Waits for what comes without the test's doing; the clock goes on by `ms` with each look. */
  const comes = (condition: () => boolean, what: string, ms = 1): Promise<void> =>
    until(() => {
      clock.pass(ms);
      return condition();
    }, what);
  const node = async (name = "n1", more: object = {}): Promise<MemoryPeer> => {
    const peer = new MemoryPeer(manager).send(announce(name, more));
    await comes(() => peer.heard.length > 0, "the node is answered", 0);
    return peer;
  };
  const client = async (token: string | null = null): Promise<MemoryPeer> => {
    const peer = new MemoryPeer(manager).send(subscribe(token));
    await comes(() => peer.heard.length > 0, "the client is answered", 0);
    return peer;
  };
  return { clock, registry, saved, log, disk, manager, node, client, comes };
}

const announce = (name: string, more: object = {}): object => ({
  ...{ t: "announce", protocol: MANAGER_PROTOCOL_VERSION, version: "1.0.0", name },
  ...{ instance: `${name}-first`, address: `${name}:7000`, cores: 8, memoryBytes: 2 ** 33 },
  ...{ fabrics: ["shm"], machine: "m", token: null, settling: false },
  ...more,
});
const subscribe = (token: string | null = null): object => ({
  ...{ t: "subscribe", protocol: MANAGER_PROTOCOL_VERSION, version: "1.0.0", token },
});
const capacity = (freeCores: number): object => ({
  ...{ t: "capacity", freeCores, freeMemoryBytes: 1000, leases: 1, draining: false },
});
/** The clock of the tests begins here. */
const BEGAN_MS = Date.UTC(2026, 0, 1);
const bill = (lease: number, more: Partial<UsageReport> = {}): UsageReport => ({
  ...{ lease: `n1-first/${lease}`, node: "n1", user: "ada", workers: 1, coresPerWorker: 1 },
  ...{ startedAtMs: BEGAN_MS + 5, endedAtMs: null, reason: null },
  usage: { allocationCoreNs: lease, executionNs: 0, pollingNs: 0, calls: 0, bytes: 0 },
  ...more,
});
const report = (id: number, ...reports: UsageReport[]): object => ({
  ...{ t: "report-usage", id, reports },
});

/** The last message of a peer that was refused. */
function refusal(peer: MemoryPeer): unknown {
  expect(peer.closed).toBe(true);
  const { t, message } = peer.heard.at(-1)!;
  expect(t).toBe("refused");
  return message;
}

describe("a node", () => {
  test("is known from its announcement until it says that it leaves", async () => {
    const { registry, log, manager, node } = cluster();
    const peer = await node();
    expect(peer.heard).toEqual([{ t: "accepted", name: "n1", publicKey: null }]);
    peer.send(capacity(5));
    expect(registry.get("n1")).toMatchObject({ state: "up", freeCores: 5, leases: 1 });
    expect(manager.connectionCount).toBe(1);
    peer.send({ t: "leaving" });
    expect(registry.get("n1")).toBeUndefined();
    expect(peer.closed).toBe(true);
    expect(manager.connectionCount).toBe(0);
    expect(log).toEqual(["info: node n1 joined with 8 cores at n1:7000", "info: node n1 left"]);
  });

  test("is down when its connection ends, and the log says so", async () => {
    const { registry, log, node } = cluster();
    (await node()).leave();
    expect(registry.get("n1")).toMatchObject({ state: "down" });
    expect(log.at(-1)).toBe("warn: node n1 is lost: its connection ended");
  });

  test("is lost when it is silent, and not while it says anything", async () => {
    const { clock, registry, log, node } = cluster();
    const [quiet, busy] = [await node("n1"), await node("n2")];
    for (let i = 0; i < 4; i++) {
      clock.pass(1000);
      busy.send(capacity(8));
    }
    expect([quiet.closed, busy.closed]).toEqual([true, false]);
    expect(registry.get("n1")).toMatchObject({ state: "down" });
    expect(log).toContain("warn: node n1 is lost: it is silent");
  });

  test("that comes again over another connection takes the place of its first", async () => {
    const { registry, log, node } = cluster();
    const [first, second] = [await node(), await node()];
    expect([first.closed, second.closed]).toEqual([true, false]);
    expect(registry.get("n1")).toMatchObject({ state: "up" });
    expect(log.filter((line) => line.includes("lost"))).toEqual([]);
  });

  test.each<[string, object, string]>([
    ["another has its name", { instance: "another" }, "another node is already called n1"],
    ["its name has a space", { name: "a b" }, "a node's name is 1 to 128 letters"],
    ["it has no core", { name: "n2", cores: 0 }, "1 to 1024 cores and not 0"],
    ["it settles and has no name", { name: "", settling: true }, "a node's name is 1 to 128"],
  ])("is refused when %s", async (_, more, why) => {
    const { log, node } = cluster();
    await node();
    expect(refusal(await node("n1", more))).toContain(why);
    expect(log.at(-1)).toContain("warn: a connection was refused");
  });

  test("is told to drain, to resume and to go, and none of it is for a node that is not there", async () => {
    const { registry, manager, node } = cluster();
    const peer = await node();
    expect(manager.drain("n1", 5000)).toBe(true);
    expect(registry.get("n1")).toMatchObject({ state: "draining" });
    expect(manager.resume("n1")).toBe(true);
    expect(manager.remove("n1")).toBe(true);
    expect(peer.heard.slice(1)).toEqual([
      { t: "drain", deadlineMs: 5000 },
      { t: "resume" },
      { t: "remove" },
    ]);
    expect(registry.get("n1")).toBeUndefined();
    const none = [manager.drain("n9", 1), manager.resume("n9"), manager.remove("n9")];
    expect(none).toEqual([false, false, false]);
  });

  test("that was taken out stays out, whenever it comes, until it is let in, and is told so where it can hear it", async () => {
    const { registry, manager, node } = cluster();
    const [hears, deaf] = [await node("n1", { can: ["readmit"] }), await node("n2")];
    for (const name of ["n1", "n2"]) manager.remove(name);
    expect(refusal(await node("n1"))).toContain("rfaas node readmit n1");
    const next = new Registry();
    for (const wish of registry.wishes(0)) next.restore(wish, 0);
    const described = { name: "n1", address: "n1:7000", cores: 1, memoryBytes: 1 };
    expect(next.expectAll([described])).toBeUndefined();
    expect([next.get("n1"), next.readmit("n1:7000")]).toEqual([undefined, "n1"]);
    for (const name of ["n1", "n2"]) expect(manager.readmit(name)).toBe(name);
    expect(hears.heard.at(-1)).toEqual({ t: "readmit" });
    expect(hears.closed).toBe(true);
    expect(deaf.heard.at(-1)).toEqual({ t: "remove" });
    await node("n1");
    expect(registry.get("n1")).toMatchObject({ state: "up" });
    expect(manager.readmit("n1")).toBeUndefined();
  });

  test("is the one that a list knows by its address alone, before and after it has come", async () => {
    const { registry, node } = cluster();
    const listed = { name: "n1:7000", address: "n1:7000", cores: 4, memoryBytes: 1 };
    registry.expect(listed);
    registry.drain("n1:7000", 1000, 0);
    const peer = await node();
    registry.expect(listed);
    expect(registry.nodes()).toMatchObject([{ name: "n1", state: "draining", cores: 8 }]);
    peer.leave();
    expect(registry.nodes()).toMatchObject([{ name: "n1", state: "down" }]);
    expect(registry.isExpected("n1")).toBe(true);
  });

  test("hears when it comes what was wished while it was away", async () => {
    const { clock, manager, node } = cluster();
    (await node()).leave();
    manager.drain("n1", 5000);
    clock.pass(2000);
    const drained = await node();
    expect(drained.find("drain")).toEqual({ t: "drain", deadlineMs: 3000 });
    drained.leave();
    manager.resume("n1");
    expect((await node()).find("resume")).toEqual({ t: "resume" });
  });
});

describe("bills", () => {
  test("are confirmed once they are in the ledger, and what goes on is listed", async () => {
    const { saved, manager, node, comes } = cluster();
    const peer = await node();
    peer.send(report(7, bill(1), bill(2)));
    await comes(() => peer.find("report-usage-reply") !== undefined, "they are saved");
    expect(peer.find("report-usage-reply")).toEqual({ t: "report-usage-reply", id: 7 });
    expect(saved).toEqual([bill(1), bill(2)]);
    expect(manager.leases()).toEqual([bill(1), bill(2)]);
    const ended = bill(1, { endedAtMs: BEGAN_MS + 9, reason: "released" });
    peer.send(report(8, ended));
    await comes(() => saved.length === 3, "the end is saved");
    expect(manager.leases()).toEqual([bill(2)]);
    expect(manager.ledgerOf("n1")).toEqual({
      ...{ ledger: "messages", ledgerAdds: 0, usageMessages: 2 },
    });
    expect(manager.ledgerOf("n9")).toMatchObject({ usageMessages: 0 });
    peer.leave();
    expect(manager.leases()).toEqual([]);
  });

  test.each([
    ["another node's", bill(1, { node: "n2" })],
    ["another life's of the node", bill(1, { lease: "n1-second/1" })],
  ])("are refused when they are %s, and nothing of the batch is kept", async (_, foreign) => {
    const { saved, node } = cluster();
    const peer = await node();
    peer.send(report(1, bill(2), foreign));
    expect(refusal(peer)).toContain(`lease ${foreign.lease} is not of node n1 as it was announced`);
    expect(saved).toEqual([]);
  });

  test("wait in their nodes while the ledger cannot be written, and new nodes hear of that, too", async () => {
    const { disk, log, saved, node, comes } = cluster();
    const peer = await node();
    disk.full = true;
    peer.send(report(1, bill(1)));
    await comes(() => peer.find("ledger") !== undefined, "the node hears of it");
    expect(peer.find("ledger")).toMatchObject({ problem: "the disk is full (ENOSPC)" });
    expect((await node("n2")).find("ledger")).toMatchObject({ problem: expect.any(String) });
    expect(peer.find("report-usage-reply")).toBeUndefined();
    disk.full = false;
    peer.send(report(2, bill(1)));
    await comes(() => peer.all("ledger").length === 2, "the node hears that it can be written");
    expect(peer.all("ledger")[1]).toEqual({ t: "ledger", problem: null });
    expect(peer.find("report-usage-reply")).toMatchObject({ id: 2 });
    expect(saved).toEqual([bill(1)]);
    expect(log.slice(-1)).toEqual(["info: the ledger can be written again"]);
  });

  test("come in from a node that was removed, until it is silent for half a minute", async () => {
    const { clock, registry, saved, manager, node, comes } = cluster();
    const peer = await node();
    manager.remove("n1");
    peer.send(capacity(8), report(1, bill(1)));
    await comes(() => saved.length === 1, "the bill is saved");
    expect(registry.get("n1")).toBeUndefined();
    clock.pass(29_000);
    expect(peer.closed).toBe(false);
    clock.pass(1_200);
    expect(peer.closed).toBe(true);
    expect(manager.leases()).toEqual([]);
  });

  test("come in from a node that only settles, beside the one that has its name", async () => {
    const { registry, saved, node, comes } = cluster();
    await node("n1", { instance: "second" });
    const settling = await node("n1", { settling: true });
    expect(settling.find("accepted")).toMatchObject({ name: "n1" });
    settling.send(report(1, bill(1, { endedAtMs: BEGAN_MS + 9 })));
    await comes(() => saved.length === 1, "the bill is saved");
    settling.send({ t: "leaving" });
    expect(settling.closed).toBe(true);
    expect(registry.get("n1")).toMatchObject({ instance: "second", state: "up" });
  });

  test("have no row of counters where there is no such lease, the fabric has none, or the node is out of the cluster", async () => {
    const { manager, node } = cluster();
    const peer = await node();
    peer.send({ t: "bind-row", id: 1, row: 0, lease: "n1-first/9" });
    peer.send({ t: "get-counters", id: 3, fabric: "shm" });
    manager.remove("n1");
    peer.send({ t: "get-counters", id: 2, fabric: "verbs" });
    expect(peer.all("failed")).toEqual([
      expect.objectContaining({ id: 1, code: "RFAAS_NO_COUNTERS" }),
      expect.objectContaining({ id: 3, message: "the manager has no counters over shm" }),
      expect.objectContaining({ id: 2, message: "the node is out of the cluster" }),
    ]);
  });

  test("are saved when the manager closes, and all connections end", async () => {
    const { saved, manager, node, client } = cluster();
    const [peer, other] = [await node(), await client()];
    peer.send(report(1, bill(1)));
    manager.close();
    expect(saved).toEqual([bill(1)]);
    expect([peer.closed, other.closed]).toEqual([true, true]);
  });
});

describe("a client", () => {
  test("hears which nodes there are, and of every change", async () => {
    const { manager, node, client, comes } = cluster();
    await node("n1");
    const peer = await client();
    expect(manager.subscriberCount).toBe(1);
    expect(peer.heard).toEqual([
      { t: "manager-key", publicKey: null },
      { t: "nodes", nodes: [expect.objectContaining({ name: "n1" })], last: true },
    ]);
    (await node("n2")).send(capacity(3));
    const change = () => peer.find("nodes-changed");
    await comes(() => change() !== undefined, "it hears of the other node");
    expect(change()).toMatchObject({ nodes: [{ name: "n2" }], gone: [] });
    peer.leave();
    expect(manager.subscriberCount).toBe(0);
  });

  test("gets the leases in parts, each with the id of its request", async () => {
    const { node, saved, client, comes } = cluster();
    const peer = await node();
    const many = Array.from({ length: MAX_PART_ENTRIES + 1 }, (_, i) => bill(i + 1));
    peer.send(report(1, ...many.slice(0, MAX_PART_ENTRIES)), report(2, ...many.slice(-1)));
    await comes(() => saved.length === many.length, "all are known");
    const asking = await client();
    asking.send({ t: "list-leases", id: 44 });
    const parts = asking.all("list-leases-reply");
    expect(parts.map(({ id, last }) => [id, last])).toEqual([
      [44, false],
      [44, true],
    ]);
    expect(parts.flatMap(({ leases }) => leases)).toEqual(many);
  });

  test("sees the leases that its token shows, and goes on without any", async () => {
    const { saved, node, client, comes } = cluster(CHECKED);
    const peer = await node("n1", { token: "node n1" });
    peer.send(report(1, bill(1), bill(2, { user: "bob" })));
    await comes(() => saved.length === 2, "the leases are known");
    const listed = async (token: string): Promise<unknown> => {
      const asking = await client(token);
      asking.send({ t: "list-leases", id: 1 });
      expect(asking.closed).toBe(false);
      return asking.heard.at(-1);
    };
    expect(await listed("ada")).toMatchObject({ leases: [bill(1)], last: true });
    expect(await listed("root")).toMatchObject({ leases: [bill(1), bill(2, { user: "bob" })] });
    expect(await listed("blind")).toEqual({
      ...{ t: "failed", id: 1, code: "RFAAS_TOKEN", message: "no token for read; get one" },
    });
  });
});

describe("a peer is refused", () => {
  const cases: [string, object[], string][] = [
    ["that does not greet", [{ t: "leaving" }], "the first message must be a greeting"],
    ["that says what is no message", [{ t: "gossip" }], 'unknown control message "gossip"'],
    ["whose greeting lacks a field", [{ t: "subscribe" }], '"subscribe" is malformed at /protocol'],
    ["that is a newer node", [announce("n1", { protocol: 99 })], "update the manager"],
    ["that is an older node", [announce("n1", { protocol: 1 })], "update the node"],
    ["that is an older client", [{ ...subscribe(), protocol: 1 }], "update the client"],
    [
      "that greets twice",
      [announce("n1"), announce("n1")],
      "node that has announced itself cannot",
    ],
    [
      "that is a node and asks as a client",
      [announce("n1"), { t: "list-leases", id: 1 }],
      'a node that has announced itself cannot say "list-leases"; update the node',
    ],
    [
      "that is a client and reports",
      [subscribe(), report(1, bill(1))],
      'a client that has subscribed cannot say "report-usage"; update the client',
    ],
    ["whose bill is negative", [announce("n1"), report(1, bill(1, { workers: -1 }))], "/workers"],
    ["whose answer was not asked for", [announce("n1"), { t: "failed", id: 1 }], "unknown control"],
  ];
  test.each(cases)("%s", async (_, messages, why) => {
    const { manager, log, comes } = cluster();
    const peer = new MemoryPeer(manager).send(...messages);
    await comes(() => peer.closed, "it is refused");
    expect(refusal(peer)).toContain(why);
    expect(manager.connectionCount).toBe(0);
    expect(log.filter((line) => /^warn: .* was (refused|disconnected): /.test(line))).toHaveLength(
      1,
    );
  });

  test("for its token, as node and as client, and one that may only look may subscribe", async () => {
    const { node, client } = cluster(CHECKED);
    expect(refusal(await node("n1", { token: "ada" }))).toBe("no token for node; get one");
    expect(refusal(await client("node"))).toBe("no token for client; get one");
    expect((await client("looks")).closed).toBe(false);
  });

  test("for the token that another node has got when it joined", async () => {
    const { node } = cluster(CHECKED);
    expect(refusal(await node("n2", { token: "node n1" }))).toBe(
      "the token of node.n1 is that of the node n1, and not of the node n2; let the node join by its name (rfaas node join-token), or make it a token: rfaas token create --scope node --node n2",
    );
    expect((await node("n1", { token: "node n1" })).closed).toBe(false);
    expect((await node("a:1", { token: "node a:1" })).closed).toBe(false);
  });

  test("for a node's token that names no node", async () => {
    const { node } = cluster(CHECKED);
    expect(refusal(await node("n1", { token: "any node" }))).toContain(
      "the token of ops is for no node, and not of the node n1",
    );
  });

  test("when its token cannot be checked, and the manager goes on", async () => {
    const check = () => Promise.reject(new Error("the key cannot be read"));
    const { client } = cluster({ publicKey: null, check });
    expect(refusal(await client())).toBe("the key cannot be read");
  });

  test("when its greeting is longer than any, whatever frame it claims to be", async () => {
    const { manager } = cluster();
    const claims = new MemoryPeer(manager);
    claims.write(new Uint8Array([0, 0, 0, 64]));
    expect(refusal(claims)).toContain("a control frame of 1073741824 bytes is not allowed");
    const long = new MemoryPeer(manager);
    const frame = encodeFrame({ t: "subscribe", version: "x".repeat(15_000) });
    long.write(frame.subarray(0, 9_000));
    expect(long.closed).toBe(false);
    long.write(new Uint8Array(8_000));
    expect(refusal(long)).toContain("the first message must be a greeting");
  });

  test("when it has not greeted for five seconds, also in the middle of a greeting", () => {
    const { clock, manager } = cluster();
    const peers = [new MemoryPeer(manager), new MemoryPeer(manager)];
    peers[1]!.write(encodeFrame(announce("n1")).subarray(0, 10));
    clock.pass(4_900);
    expect(peers.map(({ closed }) => closed)).toEqual([false, false]);
    clock.pass(200);
    expect(peers.map(({ closed }) => closed)).toEqual([true, true]);
  });
});

test("what comes behind a greeting waits until the peer is let in", async () => {
  const { manager, registry, comes } = cluster();
  const peer = new MemoryPeer(manager).send(announce("n1"), capacity(2));
  expect(peer.heard).toEqual([]);
  await comes(() => registry.get("n1")?.freeCores === 2, "both are heard");
  expect(peer.heard.map(({ t }) => t)).toEqual(["accepted"]);
});

test("a peer that goes while its token is checked is not let in", async () => {
  const verdict = Promise.withResolvers<never>();
  const { manager, registry } = cluster({ publicKey: null, check: () => verdict.promise });
  const peer = new MemoryPeer(manager).send(announce("n1"));
  peer.leave();
  verdict.resolve({ user: "ops", seesAll: false } as never);
  await new Promise(setImmediate);
  expect(registry.get("n1")).toBeUndefined();
  expect(peer.heard).toEqual([]);
});

test("all that have greeted hear from the manager every second", async () => {
  const { clock, manager, node, client } = cluster();
  const [peer, other, silent] = [await node(), await client(), new MemoryPeer(manager)];
  for (let i = 0; i < 3; i++) {
    peer.send(capacity(8));
    clock.pass(1000);
  }
  const alive = [peer, other, silent].map((each) => each.all("alive").length);
  expect(alive).toEqual([3, 3, 0]);
});

test("all come again when another key counts", async () => {
  const { manager, node, client } = cluster();
  const [peer, other] = [await node(), await client()];
  manager.reconnectAll();
  expect([peer.closed, other.closed, manager.connectionCount]).toEqual([true, true, 0]);
});

test("a manager at a port takes peers over TCP, and refuses them all once it is closed", async () => {
  const shared = { registry: new Registry(), tokens: OPEN, ledger: { record() {} }, log() {} };
  const server = new ManagerServer("127.0.0.1:0", shared);
  running.push(server);
  using peer = await RawPeer.connect(server.address);
  peer.send(announce("n1"));
  await until(() => peer.find("accepted") !== undefined, "the node is in");
  expect(() => new ManagerServer(server.address, shared)).toThrow("is in use");
  server.close();
  await until(() => peer.closed, "its connection ends");
  await expect(RawPeer.connect(server.address)).rejects.toThrow();
});

describe("the address of a node", () => {
  const question = { question: new Uint8Array(16), answer: new Uint8Array(16) };
  const looks: Pick<ManagerOptions, "reach"> = {
    reach: (address) =>
      Promise.resolve({
        reached: (address as { host: string }).host === "n1" ? "yes" : "refused",
        // Where the peers of this test come from.
        tried: ["10.0.0.2"],
      }),
  };

  test("is looked at when the node asks for it, and clients are told", async () => {
    const { registry, node, client, comes } = cluster(OPEN, looks);
    const n1 = await node();
    expect(n1.find("accepted")).toMatchObject({ looks: true });
    expect(registry.get("n1")!.reachable).toBeUndefined();
    n1.send({ t: "check-address", id: 1, ...question });
    await comes(() => n1.find("check-address-reply") !== undefined, "it is told");
    expect(n1.find("check-address-reply")).toMatchObject({ id: 1, reached: "yes" });
    const n2 = await node("n2");
    n2.send({ t: "check-address", id: 1, ...question });
    await comes(() => n2.find("check-address-reply") !== undefined, "it is told");
    n2.send(capacity(5));
    const watcher = await client();
    const nodes = watcher.find("nodes")!["nodes"] as { name: string; reachable?: string }[];
    expect(nodes.map(({ name, reachable }) => [name, reachable])).toEqual([
      ["n1", "yes"],
      ["n2", "refused"],
    ]);
    // What was seen of a node that is gone says nothing of the next one.
    n1.leave();
    expect(registry.get("n1")).toMatchObject({ state: "down" });
    expect(registry.get("n1")!.reachable).toBeUndefined();
  });

  test("is looked at for one question at a time, and for none of a node that is out of the cluster", async () => {
    const { manager, node, comes } = cluster(OPEN, looks);
    const n1 = await node();
    n1.send({ t: "check-address", id: 1, ...question }, { t: "check-address", id: 2, ...question });
    await comes(() => n1.find("check-address-reply") !== undefined, "it is told");
    expect(n1.find("check-address-reply")).toMatchObject({ id: 1 });
    expect(n1.find("failed")).toMatchObject({ id: 2, code: "RFAAS_NOT_LOOKED" });
    manager.remove("n1");
    n1.send({ t: "check-address", id: 3, ...question });
    await comes(() => n1.all("failed").length === 2, "it is told");
    expect(n1.all("failed")[1]).toMatchObject({ id: 3, code: "RFAAS_NOT_LOOKED" });
  });

  test("is not looked at by a manager without a network", async () => {
    const { node, comes } = cluster();
    const n1 = await node();
    expect(n1.find("accepted")).not.toHaveProperty("looks");
    n1.send({ t: "check-address", id: 1, ...question });
    await comes(() => n1.find("failed") !== undefined, "it is told");
  });
});

describe("leases of a node that is lost", () => {
  const GRACE_MS = 60_000;
  class Books implements Disposable {
    readonly #scratch = new Scratch();
    readonly ledger = Ledger.open(this.#scratch.join("ledger.sqlite"));
    readonly options = { ledger: this.ledger, lost: { ledger: this.ledger, graceMs: GRACE_MS } };

    /** Leases, those that go on, and those whose end is presumed. */
    get counts(): number[] {
      return this.ledger
        .bill()
        .flatMap(({ leases, live, presumed, calls }) => [leases, live, presumed, Number(calls)]);
    }

    [Symbol.dispose](): void {
      this.ledger.close();
      this.#scratch[Symbol.dispose]();
    }
  }
  const used = (calls: number): Partial<UsageReport> => ({
    usage: { allocationCoreNs: 1e9, executionNs: 0, pollingNs: 0, calls, bytes: 0 },
  });

  test("end in the ledger after the grace, with what it said last, and the log says so", async () => {
    using books = new Books();
    const { node, clock, log } = cluster(OPEN, books.options);
    const peer = await node();
    peer.send(report(1, bill(1, used(10)), bill(2, { ...used(20), endedAtMs: BEGAN_MS + 9 })));
    clock.pass(100);
    peer.leave();
    clock.pass(GRACE_MS - 200);
    expect(books.counts).toEqual([2, 1, 0, 30]);
    clock.pass(500);
    expect(books.counts).toEqual([2, 0, 1, 30]);
    expect(log.at(-1)).toMatch(/^warn: node n1 has been away for 60 s: 1 lease of it ended/);
  });

  test("go on while it is there, however long, and while it only settles", async () => {
    using books = new Books();
    const { node, clock } = cluster(OPEN, books.options);
    const peer = await node();
    peer.send(report(1, bill(1, used(10))));
    for (let ms = 0; ms < 3 * GRACE_MS; ms += 1000) {
      clock.pass(1000);
      peer.send(capacity(8));
    }
    expect(books.counts).toEqual([1, 1, 0, 10]);
    peer.leave();
    const settling = await node("n1", { settling: true });
    for (let ms = 0; ms < 3 * GRACE_MS; ms += 1000) {
      clock.pass(1000);
      settling.send(report(ms + 2));
    }
    expect(books.counts).toEqual([1, 1, 0, 10]);
  });

  test("go on when it was away for longer, as it says when it is back", async () => {
    using books = new Books();
    const { node, clock } = cluster(OPEN, books.options);
    const peer = await node();
    peer.send(report(1, bill(1, used(10))));
    clock.pass(100);
    peer.leave();
    clock.pass(2 * GRACE_MS);
    expect(books.counts).toEqual([1, 0, 1, 10]);
    const back = await node();
    back.send(report(1, bill(1, used(50))));
    clock.pass(100);
    expect(books.counts).toEqual([1, 1, 0, 50]);
    back.send(report(2, bill(1, { ...used(60), endedAtMs: BEGAN_MS + 99, reason: "released" })));
    clock.pass(100);
    expect(books.counts).toEqual([1, 0, 0, 60]);
  });

  test("end though another run of the node is there, and are corrected by what that one hands in", async () => {
    using books = new Books();
    const { node, clock } = cluster(OPEN, books.options);
    const peer = await node();
    peer.send(report(1, bill(1, used(10))));
    clock.pass(100);
    peer.leave();
    const next = await node("n1", { instance: "n1-second" });
    for (let ms = 0; ms < GRACE_MS + 1000; ms += 1000) {
      clock.pass(1000);
      next.send(capacity(8));
    }
    expect(books.counts).toEqual([1, 0, 1, 10]);
    const settling = await node("n1", { settling: true });
    settling.send(
      report(1, bill(1, { ...used(12), endedAtMs: BEGAN_MS + 50, reason: "node-lost" })),
    );
    clock.pass(100);
    expect(books.counts).toEqual([1, 0, 0, 12]);
  });

  test("end when it does not come to a manager that has started since", async () => {
    using books = new Books();
    books.ledger.record([bill(1, used(10))]);
    const { clock } = cluster(OPEN, books.options);
    clock.pass(GRACE_MS - 1000);
    expect(books.counts).toEqual([1, 1, 0, 10]);
    clock.pass(2000);
    expect(books.counts).toEqual([1, 0, 1, 10]);
  });
});
