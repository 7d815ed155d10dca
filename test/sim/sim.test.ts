import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BUGS, type Bug } from "./bugs.ts";
import { type Outcome, SimulationFailure, simulate } from "./simulation.ts";

const FIXED_SEEDS = 50;
const FRESH_SEEDS = 10;
/** Nodes that are always full, where groups meet again and again. */
const SMALL_SIZES = [
  { nodes: 3, clients: 8 },
  { nodes: 4, clients: 12 },
];
const SMALL_SEEDS = 50;
/** Where another seed than the table's must find a bug, as the simulation was changed, it is one of so many. */
const BUG_SEEDS = 100;
const LIMIT_MS = 300_000;

interface Size {
  nodes: number;
  clients: number;
}

interface Row {
  phase: string;
  /** By how many it was found, from 1 on. */
  seed: number;
  size: Size;
}

/** The table of bugs in `README.md`: name, what is wrong, what must hold, when it is found, by which seed. */
const TABLE = new Map<string, Row>(
  readFileSync(join(import.meta.dir, "README.md"), "utf8")
    .split("\n")
    .filter((line) => line.startsWith("| `"))
    .map((line) => {
      const [name, , , phase, seed] = line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim());
      // Fewer nodes for more clients, where no size is named: there is more to wait for.
      const [count, nodes = 12, clients = 40] = seed!.match(/\d+/g)!.map(Number);
      const size = { nodes, clients };
      return [name!.replaceAll("`", ""), { phase: phase!, seed: count!, size }];
    }),
);

function failureOf(seed: number, bug: Bug | undefined, size: Size): SimulationFailure | undefined {
  try {
    simulate({ seed, bug, ...size });
    return undefined;
  } catch (error) {
    if (error instanceof SimulationFailure) return error;
    throw error;
  }
}

function traceOf(seed: number): string {
  const lines: string[] = [];
  simulate({ seed, trace: (line) => lines.push(line) });
  return lines.join("\n");
}

test(
  "no invariant is broken in a hundred nodes, whatever fails",
  () => {
    const total: Outcome = { steps: 0, leases: 0, granted: 0, failed: 0, died: 0 };
    for (let seed = 1; seed <= FIXED_SEEDS; seed++) {
      const outcome = simulate({ seed });
      for (const key of Object.keys(total) as (keyof Outcome)[]) total[key] += outcome[key];
    }
    // A simulation in which nothing happens proves nothing.
    expect(total.leases).toBeGreaterThan(100 * FIXED_SEEDS);
    expect(total.granted).toBeGreaterThan(30 * FIXED_SEEDS);
    expect(total.failed).toBeGreaterThan(FIXED_SEEDS);
    expect(total.died).toBeGreaterThan(0);
  },
  LIMIT_MS,
);

const freshSeeds = (count: number): number[] =>
  Array.from(crypto.getRandomValues(new Uint32Array(count)), (seed) => Math.max(1, seed));

test(
  "nor with seeds that nobody has tried before",
  () => {
    const seeds = freshSeeds(FRESH_SEEDS);
    console.log(`fresh seeds: ${seeds.join(" ")} (npm run sim -- --seed N --trace)`);
    for (const seed of seeds) simulate({ seed });
  },
  LIMIT_MS,
);

test.each(SMALL_SIZES)(
  "nor in $nodes nodes for $clients clients",
  (size) => {
    for (const seed of freshSeeds(SMALL_SEEDS)) {
      const failure = failureOf(seed, undefined, size);
      const { nodes, clients } = size;
      const replay = `npm run sim -- --seed ${seed} --nodes ${nodes} --clients ${clients} --trace`;
      if (failure) throw new Error(`${failure.message}\nto replay: ${replay}`);
    }
  },
  LIMIT_MS,
);

test(
  "a seed replays exactly",
  () => {
    const first = traceOf(7);
    expect(first.length).toBeGreaterThan(100_000);
    expect(traceOf(7) === first).toBe(true);
    expect(traceOf(8) === first).toBe(false);
  },
  LIMIT_MS,
);

test("the table of bugs has each of them", () => {
  expect([...TABLE.keys()].toSorted()).toEqual(BUGS);
  const late = [...TABLE.values()].filter(({ phase }) => phase === "liveness");
  expect(late.length).toBeGreaterThan(5);
});

test.each(BUGS)(
  "a bug that is built in is found, and replays: %s",
  (bug) => {
    const { seed: known, phase, size } = TABLE.get(bug)!;
    for (const seed of [known, ...Array.from({ length: BUG_SEEDS }, (_, i) => i + 1)]) {
      const failure = failureOf(seed, bug, size);
      if (!failure) continue;
      expect(failure.message).toContain(`seed ${seed}, step ${failure.step}: ${failure.reason}`);
      expect(failureOf(seed, bug, size)?.message).toBe(failure.message);
      if (phase === "liveness") expect(failure.phase).toBe(phase);
      return;
    }
    throw new Error(`${bug} was not found by seed ${known}, nor in ${BUG_SEEDS} seeds`);
  },
  LIMIT_MS,
);
