/** How requests of a cluster wait for other leases of their own user, over nodes that are played. */
import { describe, expect, test } from "bun:test";
import { drainMicrotasks } from "bun:jsc";
import { Cluster } from "../../src/client/cluster/cluster.ts";
import type { ConnectedNode } from "../../src/client/cluster/node.ts";
import { nodesFromAddresses } from "../../src/client/cluster/node-list.ts";
import type { Lease } from "../../src/client/lease/lease.ts";
import type { AllocateOptions } from "../../src/client/options/allocate-options.ts";
import { LeaseRefused, type LimitReached } from "../../src/base/errors.ts";
import { TestClock } from "../support/clock.ts";

const CORES = 4;

/** What a user may hold, on each node by itself or on all together; and whether nodes say what limit it is, as those of this version do. */
interface Played {
  cores: number;
  shared?: boolean;
  says?: boolean;
}

function playing({ cores: most, shared = true, says = true }: Played, names = ["a", "b", "c"]) {
  const clock = new TestClock();
  const held = new Map(names.map((name) => [name, 0]));
  /** By others, who have no part in the limit. */
  const busy = new Map(names.map((name) => [name, 0]));
  const freeOn = (name: string): number => CORES - held.get(name)! - busy.get(name)!;
  const asked: string[] = [];
  /** What the user holds by other programs, on each of the nodes or on all together. */
  const others = { cores: 0, spent: false, notOn: "" };
  const heldOn = (name: string): number =>
    (name === others.notOn ? 0 : others.cores) +
    (shared ? held.values().reduce((sum, one) => sum + one, 0) : held.get(name)!);

  const refusal = (name: string, wanted: number): LeaseRefused | undefined => {
    if (!others.spent && heldOn(name) + wanted <= most) return undefined;
    const passes = !others.spent && wanted <= most;
    const limit: LimitReached = { passes, shared, cores: most };
    const why = `ada may hold ${most} cores, ${heldOn(name)} are held; release some`;
    return new LeaseRefused("RFAAS_TOKEN_LIMIT", why, says ? { limit } : {});
  };
  const lease = (name: string, workers: number) => {
    const after: (() => unknown)[] = [];
    const listeners: (() => void)[] = [];
    const end = async () => {
      held.set(name, held.get(name)! - workers);
      await Promise.all(after.map((then) => then()));
    };
    let released: Promise<void> | undefined;
    const release = () => (released ??= end());
    const played = {
      ...{ workers, functions: [], cpus: [], core: { lanes: [] }, join() {}, waited: 0 },
      ...{ release, [Symbol.asyncDispose]: release },
      afterRelease: (then: () => unknown) => after.push(then),
      on: (_: string, listener: () => void) => (listeners.push(listener), () => {}),
    };
    return played;
  };
  const node = (name: string) => ({
    cores: CORES,
    status: async () => ({
      ...{ freeCores: freeOn(name), freeMemoryBytes: 2 ** 40 },
      ...{ leases: 0, prewarmedHosts: 0 },
    }),
    take: async (_: string, { workers = 1 }: AllocateOptions) => {
      asked.push(name);
      const refused = refusal(name, workers);
      if (refused) throw refused;
      if (workers > freeOn(name)) throw new LeaseRefused("RFAAS_NODE_FULL", "wait");
      held.set(name, held.get(name)! + workers);
      return lease(name, workers);
    },
    close: async () => {},
  });
  const rf = new Cluster(nodesFromAddresses(names.map((name) => `${name}:1`)), {
    connect: async (address) => node(address.slice(0, -2)) as unknown as ConnectedNode,
    defaultMemoryBytes: 1024,
    clock,
    random: () => 0.5,
  });
  return { rf, clock, held, busy, others, asked };
}

/** What comes of a request; undefined while it waits. */
function asking(rf: Cluster, options: AllocateOptions) {
  const seen: { lease?: Lease; error?: LeaseRefused } = {};
  rf.allocate("m.ts", options).then(
    (lease) => void (seen.lease = lease),
    (error: LeaseRefused) => void (seen.error = error),
  );
  drainMicrotasks();
  return seen;
}

describe.each([true, false])("where a limit counts on all nodes together: %p", (shared) => {
  test("a request waits until the user's other leases end, elsewhere or of its own program", () => {
    const { rf, clock, others } = playing({ cores: 2, shared });
    others.cores = 2;
    const first = asking(rf, { workers: 1 });
    clock.pass(10_000);
    expect(first).toEqual({});
    others.cores = 1;
    clock.pass(1_000);
    expect(first.lease?.workers).toBe(1);
    const all = [asking(rf, { timeoutMs: 60_000 }), asking(rf, { timeoutMs: 60_000 })];
    const second = asking(rf, { timeoutMs: 60_000 });
    clock.pass(20_000);
    expect(all.concat(second).filter(({ lease }) => lease)).toHaveLength(shared ? 0 : 2);
    void first.lease!.release();
    clock.pass(0);
    expect(all.concat(second).filter(({ lease }) => lease)).toHaveLength(shared ? 1 : 3);
  });

  test("a request whose time is up ends with what the node has said, and that it has waited", () => {
    const { rf, clock, others } = playing({ cores: 2, shared });
    others.cores = 2;
    const { error, ...rest } = (() => {
      const seen = asking(rf, { workers: 1, timeoutMs: 5_000 });
      clock.pass(4_999);
      expect(seen).toEqual({});
      clock.pass(1);
      return seen;
    })();
    expect(rest).toEqual({});
    expect(error).toMatchObject({ code: "RFAAS_TOKEN_LIMIT", limit: { passes: true } });
    expect(error!.message).toMatch(/within 5000 ms: ada may hold 2 cores, 2 are held; release/);
  });

  test("a request that does not wait ends at once, and each asks for itself", () => {
    const { rf, clock, others, asked } = playing({ cores: 2, shared });
    others.cores = 2;
    const wait = false;
    const refused = asking(rf, { wait });
    clock.pass(0);
    expect(refused.error).toMatchObject({ code: "RFAAS_TOKEN_LIMIT" });
    expect(refused.error!.message).toStartWith("ada may hold");
    if (shared) expect(asked).toHaveLength(1);
    others.cores = 0;
    const granted = asking(rf, { wait });
    clock.pass(0);
    expect(granted.lease?.workers).toBe(1);
  });

  test("waiting requests ask about once a second, together where each node would say the same", () => {
    const names = Array.from({ length: shared ? 50 : 3 }, (_, i) => `n${i}`);
    const { rf, clock, others, asked } = playing({ cores: 2, shared }, names);
    others.cores = 2;
    const all = Array.from({ length: shared ? 20 : 3 }, () => asking(rf, { timeoutMs: 100_000 }));
    clock.pass(10_000);
    asked.length = 0;
    clock.pass(60_000);
    expect(asked.length).toBeGreaterThan(30);
    if (shared) expect(asked.length).toBeLessThan(70);
    others.cores = 0;
    clock.pass(3_000);
    expect(all.filter(({ lease }) => lease).length).toBeGreaterThan(1);
  });
});

describe("where a limit counts on all nodes together", () => {
  test("what was granted of a request is given back while it waits for the rest", () => {
    const { rf, clock, others, held } = playing({ cores: 4 });
    others.cores = 2;
    const seen = asking(rf, { workers: 4, timeoutMs: 60_000 });
    for (let ms = 0; ms < 30_000; ms += 10) {
      clock.pass(10);
      expect([...held.values()]).toEqual([0, 0, 0]);
    }
    others.cores = 0;
    clock.pass(5_000);
    expect(seen.lease?.workers).toBe(4);
  });

  test("requests are served in their order, also when a later one would fit", () => {
    const { rf, clock, others } = playing({ cores: 4 });
    others.cores = 3;
    const large = asking(rf, { workers: 4, timeoutMs: 60_000 });
    clock.pass(100);
    const small = asking(rf, { workers: 1, timeoutMs: 60_000 });
    clock.pass(30_000);
    expect([large, small]).toEqual([{}, {}]);
    others.cores = 0;
    clock.pass(5_000);
    expect(large.lease?.workers).toBe(4);
    expect(small).toEqual({});
    void large.lease!.release();
    clock.pass(1_000);
    expect(small.lease?.workers).toBe(1);
  });

  test("a request for more than it ends at once, whatever share of it each node is asked for", () => {
    const { rf, clock, held } = playing({ cores: 2 });
    const seen = asking(rf, { workers: 3, timeoutMs: 60_000 });
    clock.pass(0);
    expect(seen.error).toMatchObject({ code: "RFAAS_TOKEN_LIMIT", limit: { passes: false } });
    expect(seen.error!.message).toContain("3 cores at a time are more than the user may ever hold");
    expect([...held.values()]).toEqual([0, 0, 0]);
  });

  test("what no wait helps with ends a request at once, and not the next one when it is over", () => {
    const { rf, clock, others, asked } = playing({ cores: 2 });
    others.spent = true;
    const seen = asking(rf, { timeoutMs: 60_000 });
    clock.pass(0);
    expect(seen.error?.code).toBe("RFAAS_TOKEN_LIMIT");
    expect(asked).toHaveLength(1);
    others.spent = false;
    const next = asking(rf, {});
    clock.pass(0);
    expect(next.lease?.workers).toBe(1);
  });

  test("a request whose limit has room again, in a cluster that has none, ends as such", () => {
    const { rf, clock, others, busy } = playing({ cores: 2 });
    others.cores = 2;
    const seen = asking(rf, { timeoutMs: 10_000 });
    clock.pass(5_000);
    others.cores = 0;
    for (const name of busy.keys()) busy.set(name, CORES);
    clock.pass(6_000);
    expect(seen.error?.code).toBe("RFAAS_CLUSTER_FULL");
  });
});

test("where a limit counts on each node, others grant what one does not, and a full one is named beside it", () => {
  const { rf, clock, held, busy, others } = playing({ cores: 2, shared: false }, ["a", "b"]);
  const first = asking(rf, { workers: 4 });
  clock.pass(0);
  expect(first.lease?.workers).toBe(4);
  expect([...held.values()]).toEqual([2, 2]);
  void first.lease!.release();
  Object.assign(others, { cores: 2, notOn: "b" });
  busy.set("b", CORES);
  const second = asking(rf, { timeoutMs: 3_000 });
  clock.pass(3_100);
  expect(second.error?.code).toBe("RFAAS_CLUSTER_FULL");
  expect(second.error?.message).toContain("ada may hold 2 cores");
});

test("a node of the version before, which does not say what limit it is, ends requests as it did", () => {
  const { rf, clock, others } = playing({ cores: 2, says: false });
  others.cores = 2;
  const seen = asking(rf, { timeoutMs: 60_000 });
  clock.pass(0);
  expect(seen.error).toMatchObject({ code: "RFAAS_TOKEN_LIMIT", limit: undefined });
});
