import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type Ask,
  MAX_LOOKS_AT_ONCE,
  type NodeCapacity,
  Placement,
  type RandomSource,
  type Wanted,
} from "../../src/lease/placement.ts";

/** The same numbers for the same seed. */
function seeded(seed: number): RandomSource {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const node = (
  name: string,
  freeCores?: number,
  more: Partial<NodeCapacity> = {},
): NodeCapacity => ({
  name,
  freeCores,
  freeMemoryBytes: freeCores === undefined ? undefined : 2 ** 40,
  open: true,
  ...more,
});

const wanted = (workers: number, more: Partial<Wanted> = {}): Wanted => ({
  workers,
  memoryBytes: 1024,
  placement: "spread",
  maxNodes: Infinity,
  maxWorkersPerLease: 120,
  held: new Set(),
  ...more,
});

function placementOf(nodes: readonly NodeCapacity[], seed = 1): Placement {
  const placement = new Placement(seeded(seed));
  for (const known of nodes) placement.learn(known);
  return placement;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
const workersOf = (asks: readonly Ask[]): number => sum(asks.map(({ workers }) => workers));

function perNode(asks: readonly Ask[]): Map<string, Ask[]> {
  return Map.groupBy(asks, ({ node }) => node);
}

const nodes = fc
  .array(
    fc.record({
      freeCores: fc.option(fc.nat(200), { nil: undefined }),
      freeMemoryBytes: fc.nat(10_000),
      open: fc.boolean(),
    }),
    { maxLength: 12 },
  )
  .map((all) => all.map((known, i): NodeCapacity => ({ ...known, name: `n${i}` })));
const policy = fc.constantFrom("spread" as const, "pack" as const);
const request = fc.record({
  workers: fc.integer({ min: 1, max: 400 }),
  memoryBytes: fc.integer({ min: 1, max: 3000 }),
  placement: policy,
  maxNodes: fc.oneof(fc.constant(Infinity), fc.integer({ min: 1, max: 5 })),
  maxWorkersPerLease: fc.integer({ min: 1, max: 120 }),
});
const seed = fc.nat(0xffffffff);

describe("a plan", () => {
  test("never asks a node for more cores, memory or workers in a lease than it is known to have", () => {
    fc.assert(
      fc.property(nodes, request, seed, (all, asked, from) => {
        const asks = placementOf(all, from).plan(wanted(asked.workers, asked));
        for (const [name, own] of perNode(asks)) {
          const known = all.find((one) => one.name === name)!;
          expect(known.open).toBe(true);
          expect(workersOf(own)).toBeLessThanOrEqual(known.freeCores!);
          expect(own.length * asked.memoryBytes).toBeLessThanOrEqual(known.freeMemoryBytes!);
          for (const { workers } of own) {
            expect(workers).toBeGreaterThan(0);
            expect(workers).toBeLessThanOrEqual(asked.maxWorkersPerLease);
          }
        }
        expect(perNode(asks).size).toBeLessThanOrEqual(asked.maxNodes);
      }),
    );
  });

  test("asks for all workers where there is room for all, else for as many as there is room for", () => {
    fc.assert(
      fc.property(nodes, request, seed, (all, asked, from) => {
        const { memoryBytes, maxWorkersPerLease } = asked;
        const room = all.map(({ open, freeCores = 0, freeMemoryBytes = 0 }) =>
          open
            ? Math.min(freeCores, Math.floor(freeMemoryBytes / memoryBytes) * maxWorkersPerLease)
            : 0,
        );
        const largest = room.toSorted((a, b) => b - a).slice(0, asked.maxNodes);
        const asks = placementOf(all, from).plan(wanted(asked.workers, asked));
        expect(workersOf(asks)).toBe(Math.min(asked.workers, sum(largest)));
      }),
    );
  });

  test("is the same for the same seed", () => {
    fc.assert(
      fc.property(nodes, request, seed, (all, asked, from) => {
        const plan = () => placementOf(all, from).plan(wanted(asked.workers, asked));
        expect(plan()).toEqual(plan());
      }),
    );
  });

  test("of one request leaves to the next what it has not reserved, and no more", () => {
    fc.assert(
      fc.property(nodes, fc.array(request, { maxLength: 8 }), seed, (all, requests, from) => {
        const placement = placementOf(all, from);
        const asks = requests.flatMap((asked) => {
          const plan = placement.plan(wanted(asked.workers, asked));
          for (const ask of plan) placement.reserve(ask, asked.memoryBytes);
          return plan;
        });
        for (const [name, own] of perNode(asks)) {
          const known = all.find((one) => one.name === name)!;
          expect(workersOf(own)).toBeLessThanOrEqual(known.freeCores!);
        }
      }),
    );
  });

  test("gets back what was reserved once it is settled", () => {
    const placement = placementOf([node("a", 4)]);
    const [ask] = placement.plan(wanted(4));
    placement.reserve(ask!, 1024);
    expect(placement.plan(wanted(1))).toEqual([]);
    expect(placement.freeCores()).toBe(0);
    placement.settle(ask!, 1024);
    expect(placement.plan(wanted(4))).toEqual([{ node: "a", workers: 4 }]);
  });
});

describe("spread", () => {
  test("gives equal nodes nearly equal shares", () => {
    const names = Array.from({ length: 10 }, (_, i) => `n${i}`);
    const shares = perNode(placementOf(names.map((name) => node(name, 36))).plan(wanted(180)));
    // One choice at random would be off by 10 and more; two leave 2 or 3.
    for (const name of names) {
      expect(workersOf(shares.get(name)!)).toBeGreaterThanOrEqual(14);
      expect(workersOf(shares.get(name)!)).toBeLessThanOrEqual(22);
    }
  });

  test("evens out what one-worker leases take, over many requests", () => {
    const placement = placementOf(Array.from({ length: 20 }, (_, i) => node(`n${i}`, 100)));
    const taken = new Map<string, number>();
    for (let i = 0; i < 1000; i++) {
      const [ask] = placement.plan(wanted(1));
      placement.reserve(ask!, 1024);
      taken.set(ask!.node, (taken.get(ask!.node) ?? 0) + 1);
    }
    expect(sum([...taken.values()])).toBe(1000);
    expect(Math.max(...taken.values()) - Math.min(...taken.values())).toBeLessThanOrEqual(8);
  });

  test("takes what every node has when that is just enough: 20 here, 12 there", () => {
    const asks = placementOf([node("a", 20), node("b", 12)]).plan(wanted(32));
    expect(asks).toEqual([
      { node: "a", workers: 20 },
      { node: "b", workers: 12 },
    ]);
  });

  test("keeps to few nodes when told to, and then to some that suffice", () => {
    const all = [node("a", 2), node("b", 2), node("c", 9), node("d", 2)];
    for (let from = 0; from < 50; from++) {
      expect(placementOf(all, from).plan(wanted(8, { maxNodes: 1 }))).toEqual([
        { node: "c", workers: 8 },
      ]);
      const pair = perNode(placementOf(all, from).plan(wanted(4, { maxNodes: 2 })));
      expect(pair.size).toBeLessThanOrEqual(2);
    }
  });

  test("counts nodes on which leases are held among the few", () => {
    const all = [node("a", 1), node("b", 9), node("c", 9)];
    const asks = placementOf(all).plan(wanted(4, { maxNodes: 2, held: new Set(["a", "b"]) }));
    expect([...perNode(asks).keys()]).not.toContain("c");
    expect(workersOf(asks)).toBe(4);
  });
});

describe("pack", () => {
  const pack = (all: NodeCapacity[], workers: number) =>
    placementOf(all).plan(wanted(workers, { placement: "pack" }));

  test("takes the fullest node that has room for all", () => {
    expect(pack([node("a", 16), node("b", 5), node("c", 3)], 4)).toEqual([
      { node: "b", workers: 4 },
    ]);
  });

  test("takes as few nodes as there can be when none has room for all", () => {
    expect(pack([node("a", 4), node("b", 16), node("c", 8), node("d", 6)], 22)).toEqual([
      { node: "b", workers: 16 },
      { node: "d", workers: 6 },
    ]);
  });

  test("splits what one lease cannot hold", () => {
    expect(pack([node("a", 250)], 250).map(({ workers }) => workers)).toEqual([120, 120, 10]);
  });
});

describe("a node that refused", () => {
  test("is not asked again until something about it changes", () => {
    const placement = placementOf([node("a", 4), node("b", 4)]);
    placement.refuse("a");
    expect(placement.plan(wanted(8))).toEqual([{ node: "b", workers: 4 }]);
    expect(placement.learn(node("a", 4))).toBe(false);
    expect(placement.plan(wanted(8))).toHaveLength(1);
    expect(placement.learn(node("a", 3))).toBe(true);
    expect(workersOf(placement.plan(wanted(8)))).toBe(7);
  });

  test("is asked again when all are reconsidered", () => {
    const placement = placementOf([node("a", 4)]);
    placement.refuse("a");
    placement.reconsider();
    expect(placement.plan(wanted(4))).toEqual([{ node: "a", workers: 4 }]);
  });
});

describe("nodes of which nothing is known", () => {
  const unknown = Array.from({ length: 40 }, (_, i) => node(`u${i}`));

  test("are never asked, but looked at: some, at random", () => {
    const placement = placementOf(unknown);
    expect(placement.plan(wanted(4))).toEqual([]);
    const names = placement.toLookAt(wanted(4));
    expect(names).toHaveLength(MAX_LOOKS_AT_ONCE);
    expect(new Set(names).size).toBe(MAX_LOOKS_AT_ONCE);
  });

  test("are left alone when the others leave a choice, or when they are closed or refused", () => {
    expect(placementOf([node("a", 8), ...unknown]).toLookAt(wanted(4))).toEqual([]);
    expect(placementOf([node("u", undefined, { open: false })]).toLookAt(wanted(4))).toEqual([]);
    const placement = placementOf([node("u")]);
    placement.refuse("u");
    expect(placement.toLookAt(wanted(4))).toEqual([]);
  });

  test("count for nothing once they are forgotten", () => {
    const placement = placementOf([node("a", 4)]);
    placement.forget("a");
    placement.settle({ node: "a", workers: 4 }, 1024);
    expect(placement.plan(wanted(4))).toEqual([]);
    expect(placement.freeCores()).toBe(0);
  });
});

describe("workers of several cores", () => {
  test("are planned by the cores that they take", () => {
    for (const placement of ["spread", "pack"] as const) {
      const all = placementOf([node("a", 7), node("b", 3), node("c", 1)]);
      const asks = all.plan(wanted(9, { coresPerWorker: 2, placement }));
      expect(perNode(asks).get("a")).toEqual([{ node: "a", workers: 3 }]);
      expect(perNode(asks).get("b")).toEqual([{ node: "b", workers: 1 }]);
      expect(perNode(asks).get("c")).toBeUndefined();
    }
  });

  test("keep their cores from other plans until they are settled", () => {
    const placement = placementOf([node("a", 8)]);
    placement.reserve({ node: "a", workers: 3 }, 1024, 2);
    expect(placement.freeCores()).toBe(2);
    expect(workersOf(placement.plan(wanted(8)))).toBe(2);
    placement.settle({ node: "a", workers: 3 }, 1024, 2);
    expect(placement.freeCores()).toBe(8);
  });
});
