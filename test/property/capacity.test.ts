import { expect, test } from "bun:test";
import fc from "fast-check";
import { UNPINNED, planCpus } from "../../src/executor/machine/cores.ts";
import { Capacity, type Share } from "../../src/lease/capacity.ts";

type Ask = { workers: number; coresPerWorker: number; memoryBytes: number };
type Step = Ask | { give: number };

const cpus = fc
  .tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 12 }))
  .map(([count, usable]) =>
    planCpus(
      count,
      Array.from({ length: usable }, (_, i) => i),
    ),
  );
const memory = fc.integer({ min: 1, max: 1000 });
const steps = fc.array(
  fc.oneof(
    fc.record({
      workers: fc.integer({ min: 1, max: 13 }),
      coresPerWorker: fc.constantFrom(1, 1, 1, 2, 3, 4),
      memoryBytes: fc.nat(400),
    }),
    fc.record({ give: fc.nat() }),
  ),
  { maxLength: 100 },
);

interface Moment {
  capacity: Capacity;
  shares: readonly Share[];
  /** What the step was answered, if it asked. */
  asked?: Ask & { answer: Share | string; freeCores: number };
}

/** Runs steps and looks after each of them. */
function run(
  capacity: Capacity,
  history: readonly Step[],
  look: (moment: Moment) => void,
): Share[] {
  const shares: Share[] = [];
  for (const step of history) {
    if ("give" in step) {
      const [share] = shares.length > 0 ? shares.splice(step.give % shares.length, 1) : [];
      if (share) capacity.give(share);
      look({ capacity, shares });
    } else {
      const { freeCores } = capacity;
      const answer = capacity.take(step.workers, step.memoryBytes, step.coresPerWorker);
      if (typeof answer !== "string") shares.push(answer);
      look({ capacity, shares, asked: { ...step, answer, freeCores } });
    }
  }
  return shares;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

test("what is free and what is leased add up to what the node has, always", () => {
  fc.assert(
    fc.property(cpus, memory, steps, (all, bytes, history) => {
      run(new Capacity(all, bytes), history, ({ capacity, shares }) => {
        const cores = sum(shares.map((share) => share.cpus.length));
        const leased = sum(shares.map((share) => share.memoryBytes));
        expect(capacity.freeCores + cores).toBe(all.length);
        expect(capacity.freeMemoryBytes + leased).toBe(bytes);
        expect(capacity.freeMemoryBytes).toBeGreaterThanOrEqual(0);
        expect([capacity.totalCores, capacity.totalMemoryBytes]).toEqual([all.length, bytes]);
      });
    }),
  );
});

test("no CPU is leased twice at the same time, and none is made up", () => {
  fc.assert(
    fc.property(cpus, memory, steps, (all, bytes, history) => {
      run(new Capacity(all, bytes), history, ({ shares }) => {
        const leased = shares.flatMap((share) => share.cpus);
        const pinned = leased.filter((cpu) => cpu !== UNPINNED);
        expect(new Set(pinned).size).toBe(pinned.length);
        for (const cpu of leased) expect(all).toContain(cpu);
      });
    }),
  );
});

test("a request is granted exactly when there is room, with what it asks for", () => {
  fc.assert(
    fc.property(cpus, memory, steps, (all, bytes, history) => {
      run(new Capacity(all, bytes), history, ({ capacity, asked }) => {
        if (!asked) return;
        const { memoryBytes, answer, freeCores } = asked;
        const cores = asked.workers * asked.coresPerWorker;
        if (typeof answer === "string") {
          const lacking = [
            ...(cores > freeCores ? [cores] : []),
            ...(memoryBytes > capacity.freeMemoryBytes ? [memoryBytes] : []),
          ];
          const named =
            /and (\d+) (?:is|are) asked for(?:, \d+ for each worker)?; (?:ask|release)/.exec(
              answer,
            )?.[1];
          expect(lacking).toContain(Number(named));
        } else {
          expect(answer.cpus).toHaveLength(cores);
          expect(answer.memoryBytes).toBe(memoryBytes);
        }
      });
    }),
  );
});

test("no worker goes without a CPU of its own while one is free", () => {
  fc.assert(
    fc.property(cpus, memory, steps, (all, bytes, history) => {
      const pinnable = all.filter((cpu) => cpu !== UNPINNED).length;
      run(new Capacity(all, bytes), history, ({ shares, asked }) => {
        if (!asked || typeof asked.answer === "string") return;
        if (!asked.answer.cpus.includes(UNPINNED)) return;
        const pinned = shares.flatMap((share) => share.cpus).filter((cpu) => cpu !== UNPINNED);
        expect(pinned).toHaveLength(pinnable);
      });
    }),
  );
});

test("once everything is given back, the whole node can be leased again", () => {
  fc.assert(
    fc.property(cpus, memory, steps, (all, bytes, history) => {
      const capacity = new Capacity(all, bytes);
      for (const share of run(capacity, history, () => {})) capacity.give(share);
      expect(capacity.take(all.length, bytes)).toEqual({ cpus: all, memoryBytes: bytes });
    }),
  );
});
