/** How a cluster deals with what nodes answer, over nodes that are played. */
import { describe, expect, test } from "bun:test";
import { type Clock, SYSTEM_CLOCK } from "../../src/base/clock.ts";
import { Cluster } from "../../src/client/cluster/cluster.ts";
import type { ConnectedNode } from "../../src/client/cluster/node.ts";
import type { Lease } from "../../src/client/lease/lease.ts";
import type { PartPlace } from "../../src/client/lease/part-view.ts";
import type { AllocateOptions } from "../../src/client/options/allocate-options.ts";
import { nodesFromAddresses } from "../../src/client/cluster/node-list.ts";
import { LeaseLost, LeaseRefused, NodeUnreachable } from "../../src/base/errors.ts";

const MIB = 1024 * 1024;

/** A node with so many cores, which answers as it is told to. */
class PlayedNode {
  free: number;
  asked = 0;
  connections = 0;
  /** What each of its methods ends with, instead of what it would do. */
  refusal: Error | undefined;
  unreachable = false;
  /** Grants wait for it. */
  gate: Promise<void> = Promise.resolve();
  readonly cores: number;
  readonly #holders: (() => void)[] = [];

  constructor(cores: number) {
    this.cores = cores;
    this.free = cores;
  }

  /** As one client sees it; `shown` is what that client is told to be free. */
  invoker(shown: () => number = () => this.free): ConnectedNode {
    if (this.unreachable) throw new NodeUnreachable("played", "it is switched off; switch it on");
    this.connections++;
    const reach = () => {
      if (this.unreachable) throw new NodeUnreachable("played", "it was switched off");
    };
    const played = {
      cores: this.cores,
      async status() {
        reach();
        return { freeCores: shown(), freeMemoryBytes: 2 ** 40, leases: 0, prewarmedHosts: 0 };
      },
      take: async (_module: string, { workers = 1 }: AllocateOptions) => {
        reach();
        this.asked++;
        await this.gate;
        if (this.refusal) throw this.refusal;
        if (workers > this.free) throw new LeaseRefused("RFAAS_NODE_FULL", "it is full; wait");
        this.free -= workers;
        return this.#lease(workers);
      },
      close: async () => {},
    };
    return played as unknown as ConnectedNode;
  }

  /** It loses all its leases. */
  fail(): void {
    for (const lost of this.#holders.splice(0)) lost();
  }

  #lease(workers: number) {
    const listeners: (() => void)[] = [];
    let released: Promise<void> | undefined;
    const release = () => (released ??= end());
    const after: (() => unknown)[] = [];
    const end = async () => {
      for (const listener of listeners) listener();
      this.free += workers;
      await Promise.all(after.map((then) => then()));
    };
    const lease = {
      workers,
      functions: [],
      cpus: [],
      core: { lanes: [] },
      parts: [] as PartPlace[],
      join(place: PartPlace) {
        lease.parts = [place];
      },
      afterRelease: (then: () => unknown) => after.push(then),
      release,
      [Symbol.asyncDispose]: release,
      on: (type: string, listener: () => void) => {
        if (type === "released") listeners.push(listener);
        if (type === "lost") this.#holders.push(listener);
        return () => {};
      },
    };
    return lease;
  }
}

type Nodes = Record<string, PlayedNode>;

function clusterOf(
  nodes: Nodes,
  invokerOf = (name: string) => nodes[name]!.invoker(),
  clock: Clock = SYSTEM_CLOCK,
): Cluster {
  return new Cluster(nodesFromAddresses(Object.keys(nodes).map((name) => `${name}:1`)), {
    connect: async (address) => invokerOf(address.slice(0, -2)),
    defaultMemoryBytes: MIB,
    clock,
  });
}

const nodesOf = (...leases: Lease[]): Set<string> =>
  new Set(leases.flatMap(({ parts }) => parts.map(({ node }) => node)));
const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => new Error("it was granted"),
    (error: unknown) => error,
  );
const allFree = (nodes: Nodes) =>
  expect(Object.values(nodes).map(({ free }) => free)).toEqual(
    Object.values(nodes).map(({ cores }) => cores),
  );

describe("a node that refuses", () => {
  test("because it has less than it was known to have is asked for less, and others for the rest", async () => {
    const nodes = { a: new PlayedNode(4), b: new PlayedNode(4) };
    await using rf = clusterOf(nodes);
    await (await rf.allocate("m.ts", { workers: 8 })).release();
    nodes.a.free = 1;
    await using group = await rf.allocate("m.ts", { workers: 5 });
    expect(group.workers).toBe(5);
    expect([nodes.a.free, nodes.b.free]).toEqual([0, 0]);
  });

  test("because it is broken is passed over", async () => {
    const nodes = { a: new PlayedNode(4), b: new PlayedNode(4) };
    nodes.a.refusal = new LeaseRefused("RFAAS_NODE_FAILED", "no host starts; see its log");
    await using rf = clusterOf(nodes);
    await using group = await rf.allocate("m.ts", { workers: 4 });
    expect(nodesOf(group)).toEqual(new Set(["b:1"]));
  });

  test("because it drains is passed over, and asked again later", async () => {
    const nodes = { a: new PlayedNode(2) };
    nodes.a.refusal = new LeaseRefused("RFAAS_NODE_DRAINING", "it drains; use another");
    await using rf = clusterOf(nodes);
    const waiting = rf.allocate("m.ts", { workers: 2 });
    const asked = rf.on("capacity", ([node]) => {
      if (node!.state === "draining") nodes.a.refusal = undefined;
    });
    expect((await waiting).workers).toBe(2);
    asked();
  });

  test("this client for good ends the request when there is no other, without waiting", async () => {
    const nodes = { a: new PlayedNode(2), b: new PlayedNode(2) };
    const refused = new LeaseRefused("RFAAS_NO_SHARED_FABRIC", "nothing in common; see doctor");
    for (const node of Object.values(nodes)) node.refusal = refused;
    await using rf = clusterOf(nodes);
    expect(await failure(rf.allocate("m.ts", { workers: 2 }))).toBe(refused);
    nodes.b.refusal = undefined;
    await using other = clusterOf(nodes);
    expect(nodesOf(await other.allocate("m.ts", { workers: 2 }))).toEqual(new Set(["b:1"]));
  });
});

test("a module that kills its host is not tried on node after node", async () => {
  const nodes = Object.fromEntries("abcdefgh".split("").map((name) => [name, new PlayedNode(1)]));
  for (const node of Object.values(nodes)) node.refusal = new LeaseLost("its host died; look why");
  await using rf = clusterOf(nodes);
  expect(await failure(rf.allocate("m.ts"))).toBeInstanceOf(LeaseLost);
  expect(Object.values(nodes).reduce((sum, { asked }) => sum + asked, 0)).toBeLessThan(6);
});

test("an error of the request's own ends it, and what was granted is given back", async () => {
  const nodes = { a: new PlayedNode(2), b: new PlayedNode(2) };
  nodes.b.refusal = new TypeError("what the request is to blame for");
  await using rf = clusterOf(nodes);
  expect(await failure(rf.allocate("m.ts", { workers: 4 }))).toBe(nodes.b.refusal);
  allFree(nodes);
});

test("a grant that comes after the request was given up is given back", async () => {
  const nodes = { a: new PlayedNode(2) };
  const gate = Promise.withResolvers<void>();
  nodes.a.gate = gate.promise;
  await using rf = clusterOf(nodes);
  const stop = new AbortController();
  const given = failure(rf.allocate("m.ts", { workers: 2, signal: stop.signal }));
  while (nodes.a.asked === 0) await Bun.sleep(0);
  stop.abort(new Error("no longer wanted"));
  expect(String(await given)).toContain("no longer wanted");
  gate.resolve();
  nodes.a.gate = Promise.resolve();
  await using group = await rf.allocate("m.ts", { workers: 2 });
  expect(group.workers).toBe(2);
});

test("two clients that each hold what the other one waits for do not wait for ever", async () => {
  const nodes: Nodes = { a: new PlayedNode(2), b: new PlayedNode(2) };
  // Each sees at first only one of the nodes free, takes it, and then waits for the other.
  const bothHold = () => nodes["a"]!.free === 0 && nodes["b"]!.free === 0;
  let held = false;
  const seenBy = (own: string) => (name: string) =>
    nodes[name]!.invoker(() => {
      held ||= bothHold();
      return held || name === own ? nodes[name]!.free : 0;
    });
  await using one = clusterOf(nodes, seenBy("a"));
  await using two = clusterOf(nodes, seenBy("b"));
  const both = [one, two].map(async (rf) => {
    await using group = await rf.allocate("m.ts", { workers: 4 });
    return group.workers;
  });
  expect(await Promise.all(both)).toEqual([4, 4]);
  expect(held).toBe(true);
  allFree(nodes);
});

test("a lease that is lost while others are waited for is replaced", async () => {
  const nodes = { a: new PlayedNode(2), b: new PlayedNode(2) };
  nodes.b.free = 0;
  await using rf = clusterOf(nodes);
  const waiting = rf.allocate("m.ts", { workers: 3 });
  while (nodes.a.free > 0) await Bun.sleep(0);
  nodes.a.fail();
  nodes.b.free = 2;
  await using group = await waiting;
  expect(group.workers).toBe(3);
  expect(nodes.a.free + nodes.b.free).toBe(1);
});

test("a request whose leases are lost again and again ends when its time is up", async () => {
  const nodes = { a: new PlayedNode(2), b: new PlayedNode(2) };
  // Whenever one grants, the other has lost what it had.
  for (const [one, other] of [
    [nodes.a, nodes.b],
    [nodes.b, nodes.a],
  ] as const)
    Object.defineProperty(one, "gate", { get: () => Bun.sleep(1).then(() => other.fail()) });
  await using rf = clusterOf(nodes);
  const failed = await failure(rf.allocate("m.ts", { workers: 4, timeoutMs: 100 }));
  expect(failed).toMatchObject({ code: "RFAAS_CLUSTER_FULL" });
  expect((failed as Error).message).toMatch(
    /\d+ leases? that it had (was|were) lost while it waited/,
  );
  allFree(nodes);
});

test("a node that is down is not waited for where others have enough", async () => {
  const nodes = { a: new PlayedNode(4), b: new PlayedNode(4) };
  await using rf = clusterOf(nodes);
  await (await rf.allocate("m.ts", { workers: 8 })).release();
  nodes.b.unreachable = true;
  await using first = await rf.allocate("m.ts", { workers: 3 });
  await using second = await rf.allocate("m.ts", { workers: 1 });
  expect(nodesOf(first, second)).toEqual(new Set(["a:1"]));
});

test("a connection is made when it is first needed, once, and again after it was lost", async () => {
  const nodes = Object.fromEntries(
    Array.from({ length: 100 }, (_, i) => [`n${i}`, new PlayedNode(4)]),
  );
  await using rf = clusterOf(nodes);
  const connected = () => Object.values(nodes).filter(({ connections }) => connections > 0);
  expect(connected()).toHaveLength(0);
  for (let i = 0; i < 10; i++) await (await rf.allocate("m.ts", { workers: 2 })).release();
  const few = connected();
  // So few that there is a choice; not all of them.
  expect(few.length).toBeLessThan(40);
  expect(few.every(({ connections }) => connections === 1)).toBe(true);
  for (const node of few) node.unreachable = true;
  await using group = await rf.allocate("m.ts", { workers: 2 });
  expect(group.workers).toBe(2);
  for (const node of few) node.unreachable = false;
  await using all = await rf.allocate("m.ts", { workers: 398 });
  expect(all.workers).toBe(398);
});

test("what is released is known at once to the cluster it was leased from", async () => {
  const nodes = { a: new PlayedNode(2), b: new PlayedNode(2) };
  await using rf = clusterOf(nodes);
  const group = await rf.allocate("m.ts", { workers: 4 });
  await group.release();
  expect(rf.nodes().map(({ freeCores }) => freeCores)).toEqual([2, 2]);
});

test("a thousand requests at once wake each other a few times each", async () => {
  const COUNT = 1000;
  let timers = 0;
  // Each wait of a request for its turn or for room starts a timer, and so does each question to a node.
  const clock: Clock = {
    ...SYSTEM_CLOCK,
    after: (delayMs, run) => (timers++, SYSTEM_CLOCK.after(delayMs, run)),
  };
  const nodes = { a: new PlayedNode(1), b: new PlayedNode(1) };
  await using rf = clusterOf(nodes, undefined, clock);
  const granted: number[] = [];
  const one = async (index: number): Promise<void> => {
    await using _ = await rf.allocate("m.ts", { timeoutMs: 100_000 });
    granted.push(index);
  };
  await Promise.all(Array.from({ length: COUNT }, (_, index) => one(index)));
  // Two are asked for at a time, so neighbours may change places.
  for (const [place, index] of granted.entries()) expect(Math.abs(place - index)).toBeLessThan(3);
  expect(granted).toHaveLength(COUNT);
  expect(timers).toBeLessThan(10 * COUNT);
});
