/** Pools: workers that come while calls wait, and go when idle. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import {
  DeadlineExceeded,
  LeaseLost,
  LeaseRefused,
  type Pool,
  type PoolOptions,
  QueueFull,
  UsageError,
  invoker,
} from "../../src/index.ts";
import { WorkerPool } from "../../src/client/pool/worker-pool.ts";
import { FUNCTIONS } from "../support/executable.ts";
import { until } from "../support/until.ts";

type Heals = typeof import("../functions/heals.ts");
const HEALS = join(FUNCTIONS, "heals.ts");
const LIMIT_MS = 60_000;

/** Runs `use` with a pool on a private node of two cores. */
async function pooled(
  options: PoolOptions,
  use: (pool: Pool<Heals>) => Promise<void>,
): Promise<void> {
  await using rf = await invoker({ cores: 2 });
  await using pool = await rf.pool<Heals>(HEALS, { memory: "1MiB", ...options });
  await use(pool);
}

const doubled = (count: number): number[] => Array.from({ length: count }, (_, n) => 2 * n);

describe("a pool", () => {
  test(
    "grows while calls wait, up to its bound, and shrinks to its least when idle",
    () =>
      pooled({ min: 1, max: 2, idleMs: 100 }, async (pool) => {
        expect(pool.workers).toBe(1);
        const slow = pool.function("slow");
        const calls = Array.from({ length: 20 }, (_, n) => slow(n));
        await until(() => pool.workers === 2, "a second worker has come");
        expect(await Promise.all(calls)).toEqual(doubled(20));
        await until(() => pool.workers === 1, "it has gone again");
        expect(await slow(4)).toBe(8);
      }),
    LIMIT_MS,
  );

  test(
    "that holds nothing when idle begins with the first call",
    () =>
      pooled({ min: 0, max: 1, idleMs: 50 }, async (pool) => {
        expect(pool.workers).toBe(0);
        expect(await pool.function("slow")(1)).toBe(2);
        await until(() => pool.workers === 0, "its worker is given back");
      }),
    LIMIT_MS,
  );

  test(
    "grows for calls that come while it waits to shrink",
    () =>
      pooled({ min: 0, max: 2, idleMs: 600_000 }, async (pool) => {
        const slow = pool.function("slow");
        // Its one worker is one more than it needs.
        expect(await slow(1)).toBe(2);
        const calls = Array.from({ length: 100 }, (_, n) => slow(n));
        await until(() => pool.workers === 2, "a second worker has come");
        expect(await Promise.all(calls)).toEqual(doubled(100));
      }),
    LIMIT_MS,
  );

  test(
    "refuses calls beyond its queue, or lets them wait where it is told to",
    async () => {
      await pooled({ max: 1, maxQueued: 2 }, async (pool) => {
        const slow = pool.function("slow");
        const ends = await Promise.allSettled(Array.from({ length: 5 }, (_, n) => slow(n)));
        const refused = ends.filter((end) => end.status === "rejected");
        expect(refused.map(({ reason }) => reason instanceof QueueFull)).toEqual([true, true]);
      });
      await pooled({ max: 1, maxQueued: 2, whenFull: "wait" }, async (pool) => {
        const slow = pool.function("slow");
        const calls = Array.from({ length: 5 }, (_, n) => slow(n));
        expect(await Promise.all(calls)).toEqual(doubled(5));
      });
    },
    LIMIT_MS,
  );

  test(
    "gives a worker so many calls at a time, and no more",
    () =>
      pooled({ max: 1, concurrency: 3 }, async (pool) => {
        const slow = pool.function("slow");
        const calls = Array.from({ length: 9 }, (_, n) => slow(n));
        expect([pool.inFlight, pool.queued]).toEqual([3, 6]);
        expect(await Promise.all(calls)).toEqual(doubled(9));
        expect([pool.inFlight, pool.queued]).toEqual([0, 0]);
      }),
    LIMIT_MS,
  );

  test(
    "ends a call that waits too long by its deadline, and its worker goes on with the next",
    () =>
      pooled({ max: 1 }, async (pool) => {
        const slow = pool.function("slow");
        const first = slow(1);
        const error = await slow(2, { deadlineMs: 5 }).catch((caught: unknown) => caught);
        expect(error).toBeInstanceOf(DeadlineExceeded);
        expect(await Promise.all([first, slow(3)])).toEqual([2, 6]);
      }),
    LIMIT_MS,
  );

  test(
    "maps values, which it takes no faster than its workers",
    () =>
      pooled({ max: 2, concurrency: 2 }, async (pool) => {
        let taken = 0;
        const values = function* () {
          for (; taken < 50; taken++) yield taken;
        };
        const results: number[] = [];
        for await (const result of pool.function("slow").map(values())) {
          results.push(result);
          expect(taken - results.length).toBeLessThanOrEqual(2 * 2 + 1);
        }
        expect(results).toEqual(doubled(50));
      }),
    LIMIT_MS,
  );

  test(
    "replaces a worker that dies, and calls that may run twice do not notice",
    () =>
      pooled({ min: 2, max: 2 }, async (pool) => {
        const kill = pool.function("kills");
        const slow = pool.function("slow");
        const calls = Array.from({ length: 30 }, (_, n) => slow(n, { idempotent: true }));
        const killed = await kill(null).catch((caught: unknown) => caught);
        expect(killed).toBeInstanceOf(Error);
        expect(await Promise.all(calls)).toEqual(doubled(30));
        expect(pool.workers).toBe(2);
      }),
    LIMIT_MS,
  );

  test(
    "that is closed takes no more calls, and ends when those that it has have ended",
    async () => {
      await using rf = await invoker({ cores: 2 });
      const pool = await rf.pool<Heals>(HEALS, { max: 1, memory: "1MiB" });
      const slow = pool.function("slow");
      const calls = Array.from({ length: 4 }, (_, n) => slow(n));
      const closed = pool.close();
      const late = await slow(5).catch((caught: unknown) => caught);
      expect(late).toBeInstanceOf(LeaseLost);
      expect((late as LeaseLost).mayHaveRun).toBe(false);
      await closed;
      expect(await Promise.all(calls)).toEqual(doubled(4));
      const { leases } = await rf.status();
      expect(leases).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "that is closed before its first worker has come ends when that has made the calls",
    async () => {
      await using rf = await invoker({ cores: 1 });
      const pool = await rf.pool<Heals>(HEALS, { min: 0, max: 1, memory: "1MiB" });
      const calls = [1, 2].map((n) => pool.function("slow")(n));
      await pool.close();
      expect(await Promise.all(calls)).toEqual([2, 4]);
      expect((await rf.status()).leases).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "that is closed while it gets no worker ends with the deadlines of its calls, or when there is room for them",
    async () => {
      await using rf = await invoker({ cores: 1 });
      const held = await rf.allocate<Heals>(HEALS, { memory: "1MiB" });
      const open = () => rf.pool<Heals>(HEALS, { min: 0, max: 1, memory: "1MiB" });
      const [late, patient] = [await open(), await open()];
      const lateCall = late
        .function("slow")(1, { deadlineMs: 100 })
        .catch((e: unknown) => e);
      const patientCall = patient.function("slow")(2);
      const closed = patient.close();
      await late.close();
      expect(await lateCall).toBeInstanceOf(DeadlineExceeded);
      await held.release();
      await closed;
      expect(await patientCall).toBe(4);
    },
    LIMIT_MS,
  );

  test(
    "ends with its invoker, and so do calls that wait",
    async () => {
      const rf = await invoker({ cores: 1 });
      const pool = await rf.pool<Heals>(HEALS, { max: 1, memory: "1MiB" });
      const slow = pool.function("slow");
      const calls = Promise.allSettled(Array.from({ length: 4 }, (_, n) => slow(n)));
      await rf.close();
      for (const end of await calls)
        if (end.status === "rejected") expect(end.reason).toBeInstanceOf(LeaseLost);
    },
    LIMIT_MS,
  );

  test(
    "ends calls that wait for workers that it never had when its invoker is closed, and those that come then",
    async () => {
      const rf = await invoker({ cores: 1 });
      await using _ = await rf.allocate<Heals>(HEALS, { memory: "1MiB" });
      const pool = await rf.pool<Heals>(HEALS, { min: 0, max: 2, memory: "1MiB" });
      const slow = pool.function("slow");
      const waiting = [slow(1), slow(2)].map((call) => call.catch((error: unknown) => error));
      // It has asked for workers, which there is no room for, and goes on to ask.
      await until(() => pool.queued === 2, "both wait");
      await rf.close();
      for (const error of [
        ...(await Promise.all(waiting)),
        await slow(3).catch((e: unknown) => e),
      ]) {
        expect(error).toBeInstanceOf(LeaseLost);
        expect((error as LeaseLost).mayHaveRun).toBe(false);
      }
    },
    LIMIT_MS,
  );

  test(
    "ends calls for which it is refused workers, and waits on where there is no room alone",
    async () => {
      const refused = (code: string) => new LeaseRefused(code, "no");
      const codes = ["RFAAS_NODE_FULL", "RFAAS_CLUSTER_FULL", "RFAAS_FORBIDDEN"];
      const pool = await WorkerPool.open(
        async () => {
          throw refused(codes.shift()!);
        },
        { min: 0, max: 1 },
      );
      const call = pool.function("slow")(1);
      expect(await call.catch((error: unknown) => error)).toEqual(refused("RFAAS_FORBIDDEN"));
      expect(codes).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    "of more workers at least than at most is refused, and holds nothing",
    async () => {
      await using rf = await invoker({ cores: 1 });
      const refused = await rf.pool(HEALS, { min: 3, max: 2 }).catch((caught: unknown) => caught);
      expect(refused).toBeInstanceOf(UsageError);
      expect(
        await rf.pool(HEALS, { min: 2, max: 2 }).catch((caught: unknown) => caught),
      ).toBeInstanceOf(Error);
      expect((await rf.status()).leases).toBe(0);
    },
    LIMIT_MS,
  );
});
