import { expect, test } from "bun:test";
import { BUGS, type Bug } from "./bugs.ts";
import { type Outcome, SimulationFailure, simulate } from "./simulation.ts";

const FIXED_SEEDS = 50;
const FRESH_SEEDS = 10;
/** A bug must be found among so many seeds. */
const BUG_SEEDS = 100;
const LIMIT_MS = 300_000;

/** Of these there must be many that wait at few nodes. */
const OF_LINES: readonly Bug[] = ["no-hold-limit", "no-weights", "sleeping-line", "youngest-first"];

function failureOf(seed: number, bug: Bug): SimulationFailure | undefined {
  try {
    simulate({ seed, bug, ...(OF_LINES.includes(bug) ? { nodes: 12, clients: 60 } : {}) });
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

test(
  "nor with seeds that nobody has tried before",
  () => {
    const seeds = Array.from(crypto.getRandomValues(new Uint32Array(FRESH_SEEDS)), (seed) =>
      Math.max(1, seed),
    );
    console.log(`fresh seeds: ${seeds.join(" ")} (npm run sim -- --seed N --trace)`);
    for (const seed of seeds) simulate({ seed });
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

test.each(BUGS)(
  "a bug that is built in is found, and replays: %s",
  (bug) => {
    for (let seed = 1; seed <= BUG_SEEDS; seed++) {
      const failure = failureOf(seed, bug);
      if (!failure) continue;
      expect(failure.message).toContain(`seed ${seed}, step ${failure.step}: ${failure.reason}`);
      expect(failureOf(seed, bug)?.message).toBe(failure.message);
      return;
    }
    throw new Error(`${bug} was not found in ${BUG_SEEDS} seeds`);
  },
  LIMIT_MS,
);
