/** Many nodes and clients at one real manager: all learn everything once, storms are taken wholly, idle connections keep nobody out. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { ManagerSubscription } from "../../src/client/cluster/manager-link.ts";
import { ManagerLink } from "../../src/executor/accounts/manager-link.ts";
import { encodeFrame } from "../../src/protocol/frame.ts";
import { MANAGER_PROTOCOL_VERSION } from "../../src/protocol/manager-messages.ts";
import { RunningManager } from "../support/manager.ts";
import { RawPeer } from "../support/raw-peer.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const NODES = 300;
const CLIENTS = 30;
const CORES = 8;
/** More than the kernel queues for whoever is to accept them. */
const STORM_PEERS = 1_000;
const IDLE = 10_000;
/** Connections that are made at the same time where the queue is not what is tested. */
const AT_ONCE = 200;
/** For what else the processes of the test open. */
const SPARE_DESCRIPTORS = 1_000;
const LIMIT_MS = 30_000;

const announcement = (name: string) => ({
  name,
  instance: `${name}-first`,
  address: "10.0.0.1:7700",
  cores: CORES,
  memoryBytes: 2 ** 30,
  fabrics: ["shm"],
  machine: "m1",
  token: null,
});
const greeting = (name: string) => ({
  t: "announce",
  protocol: MANAGER_PROTOCOL_VERSION,
  version: "1.2.3",
  settling: false,
  ...announcement(name),
});
const quiet = { drain() {}, resume() {}, removed() {}, key() {}, log() {} };

let scratch: Scratch;
let manager: RunningManager;
let closers: (() => unknown)[];

beforeEach(async () => {
  closers = [];
  scratch = new Scratch();
  manager = await RunningManager.start(scratch.path);
});
afterEach(async () => {
  await Promise.all(closers.map((close) => close()));
  await manager.kill();
  scratch[Symbol.dispose]();
});

function newLinks(count: number): ManagerLink[] {
  return Array.from({ length: count }, (_, i) => {
    const announce = announcement(`n${i}`);
    const link = new ManagerLink({ manager: manager.address, announce, events: quiet });
    closers.push(() => link.leave());
    return link;
  });
}

async function newClients(count: number): Promise<ManagerSubscription[]> {
  const connecting = Array.from({ length: count }, () =>
    ManagerSubscription.connect(manager.address),
  );
  const clients = await Promise.all(connecting);
  closers.push(() => clients.forEach((client) => client.close()));
  return clients;
}

async function newPeer(): Promise<RawPeer> {
  const peer = await RawPeer.connect(manager.address);
  closers.push(() => peer.die());
  return peer;
}

/** Each state of a node that a client is told of, as often as it is. */
function statesOf(client: ManagerSubscription, name: string): string[] {
  const states: string[] = [];
  client.onChange(({ changed, gone }) => {
    for (const node of changed) if (node.name === name) states.push(node.state);
    if (gone.includes(name)) states.push("gone");
  });
  return states;
}

/** Connections that this machine's kernel could not queue. */
function listenOverflows(): number {
  const [names, counts] = readFileSync("/proc/net/netstat", "utf8")
    .split("\n")
    .filter((line) => line.startsWith("TcpExt:"))
    .map((line) => line.split(" "));
  return Number(counts![names!.indexOf("ListenOverflows")]);
}

/** The process that listens at the manager's port, found by its command line. */
function managerPid(): number {
  for (const pid of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      if (line.includes("manager") && line.includes(manager.address)) return Number(pid);
    } catch {
      // It ended meanwhile.
    }
  }
  throw new Error(`no process manages at ${manager.address}`);
}

function openDescriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

function descriptorLimit(): number {
  const limits = readFileSync("/proc/self/limits", "utf8");
  return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
}

test("all clients learn of all nodes, of each change of one, and of its death, once", async () => {
  const clients = await newClients(CLIENTS);
  const links = newLinks(NODES);
  const all = new Set(links.map((_, i) => `n${i}`));
  await until(
    () =>
      clients.every(
        ({ nodes }) =>
          nodes.size === NODES && [...nodes.values()].every((node) => node.freeCores === CORES),
      ),
    "all clients know all nodes",
    LIMIT_MS,
  );
  for (const { nodes } of clients) expect(new Set(nodes.keys())).toEqual(all);

  const told = clients.map((client) => statesOf(client, "victim"));
  const became = (state: string) => () => told.every((states) => states.at(-1) === state);
  const victim = await newPeer();
  victim.send(greeting("victim"));
  await until(became("up"), "it is up");
  const free = { freeMemoryBytes: 0, leases: 8 };
  victim.send({ t: "capacity", freeCores: 0, ...free, draining: true });
  await until(became("draining"), "it drains");
  victim.die();
  await until(became("down"), "it is down");

  const silent = clients.map((client) => statesOf(client, "silent"));
  (await newPeer()).send(greeting("silent"));
  await until(() => silent.every((states) => states.at(-1) === "down"), "a silent one is down");

  expect(told).toEqual(clients.map(() => ["up", "draining", "down"]));
  expect(silent).toEqual(clients.map(() => ["up", "down"]));
  for (const { nodes } of clients) {
    expect(nodes.size).toBe(NODES + 2);
    for (const name of all) expect(nodes.get(name)?.state).toBe("up");
  }
}, 60_000);

test("a storm at a manager that stands still is taken wholly when it runs again", async () => {
  const [client] = await newClients(1);
  const pid = managerPid();
  const overflows = listenOverflows();
  process.kill(pid, "SIGSTOP");
  const connecting = Array.from({ length: STORM_PEERS }, (_, i) =>
    newPeer().then((peer) => peer.send(greeting(`raw${i}`))),
  );
  const links = newLinks(NODES);
  await until(() => listenOverflows() > overflows, "the queue is full");
  process.kill(pid, "SIGCONT");
  await Promise.all(connecting);
  await until(() => links.every(({ connected }) => connected), "all links are taken", LIMIT_MS);
  const expected = STORM_PEERS + NODES;
  await until(() => client!.nodes.size === expected, "all are known", LIMIT_MS);
  for (let i = 0; i < NODES; i++) expect(client!.nodes.get(`n${i}`)?.state).toBe("up");
}, 60_000);

test("idle connections by thousands keep no node from joining, and are closed", async () => {
  const pid = managerPid();
  const before = openDescriptors(pid);
  const half = encodeFrame(greeting("half")).subarray(0, 20);
  const count = Math.max(AT_ONCE, Math.min(IDLE, descriptorLimit() - SPARE_DESCRIPTORS));
  const idle: RawPeer[] = [];
  while (idle.length < count) {
    const peers = await Promise.all(Array.from({ length: AT_ONCE }, newPeer));
    // One whose handshake the kernel forgot is known to the manager only when it says something.
    for (const peer of peers) peer.write(half);
    idle.push(...peers);
  }
  const [link] = newLinks(1);
  await until(() => link!.connected, "a node joins meanwhile");
  await until(() => idle.every(({ closed }) => closed), "all are closed", LIMIT_MS);
  await until(() => openDescriptors(pid) <= before + 1, "the manager has none of them open");
  const [client] = await newClients(1);
  expect([...client!.nodes.keys()]).toEqual(["n0"]);
}, 60_000);
