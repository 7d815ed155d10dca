/** Batches of reports that anybody can work out again from their number, and what a ledger holds after so many of them. */
import { Database } from "bun:sqlite";
import type { UsageReport } from "../../src/protocol/manager-messages.ts";

const LIVING = 12;

/** Batch `n` of a round: living leases that rise, an older report of one of them, and now and then an end. */
export function batch(round: number, n: number): UsageReport[] {
  const reports = Array.from({ length: 6 }, (_, i) => living(round, (n * 5 + i) % LIVING, n));
  if (n >= 3) reports.push(living(round, (n * 5) % LIVING, n - 3));
  if (n % 4 === 3) reports.push({ ...report(`${round}/end-${n}`, n), ...END });
  return reports;
}

const END = { endedAtMs: 9000, reason: "released" };

function living(round: number, which: number, n: number): UsageReport {
  return report(`${round}/${which}`, n);
}

function report(lease: string, n: number): UsageReport {
  const calls = n + 1;
  return {
    lease,
    node: "n1",
    user: "ada",
    workers: 1,
    startedAtMs: 1000,
    endedAtMs: null,
    reason: null,
    usage: {
      allocationCoreNs: calls * 1000,
      executionNs: calls * 100,
      pollingNs: calls * 10,
      calls,
      bytes: calls * 7,
    },
  };
}

/** The calls of each lease, and whether it ended. */
export type Held = Map<string, string>;

/** What the ledger has to hold of a round after `count` batches. */
export function expected(round: number, count: number): Held {
  const calls = new Map<string, number>();
  const ended = new Set<string>();
  for (let n = 0; n < count; n++)
    for (const { lease, usage, endedAtMs } of batch(round, n)) {
      calls.set(lease, Math.max(usage.calls, calls.get(lease) ?? 0));
      if (endedAtMs !== null) ended.add(lease);
    }
  return new Map([...calls].map(([lease, most]) => [lease, line(most, ended.has(lease))]));
}

/** What the file holds, read with plain SQL; throws unless every counter of a lease belongs to the same report. */
export function held(path: string): Held {
  using db = new Database(path);
  const integrity = db.query("PRAGMA integrity_check").values();
  if (integrity[0]?.[0] !== "ok") throw new Error(`damaged: ${String(integrity)}`);
  const rows = db
    .query<{ lease: string; calls: number; ended: number; whole: number }, []>(
      `SELECT lease, calls, ended_at_ms IS NOT NULL AS ended,
         allocation_core_ns = calls * 1000 AND execution_ns = calls * 100
         AND polling_ns = calls * 10 AND bytes = calls * 7 AS whole
       FROM lease_usage`,
    )
    .all();
  for (const { lease, whole } of rows)
    if (!whole) throw new Error(`counters of different reports in ${lease}`);
  return new Map(rows.map(({ lease, calls, ended }) => [lease, line(calls, ended === 1)]));
}

const line = (calls: number, ended: boolean): string => `${calls}${ended ? " ended" : ""}`;
