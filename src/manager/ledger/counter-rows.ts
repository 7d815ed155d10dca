/** Which lease each row of a node's counters belongs to: makes reports of leases from rows that have risen. */
import { COUNTERS_PER_ROW } from "../../fabric/counters.ts";
import type { UsageReport } from "../../protocol/manager-messages.ts";
import { USAGE_COUNTERS } from "../../protocol/usage.ts";

/** Rows in memory that a node adds to; `Counters` is one. */
export interface RowMemory {
  readonly rows: number;
  read(row: number, out: Float64Array<ArrayBuffer>): void;
  clear(row: number): void;
}

interface BoundRow {
  row: number;
  /** As it was last told, by message or by counters. */
  report: UsageReport;
  seen: Float64Array<ArrayBuffer>;
}

export class CounterRows {
  readonly #memory: RowMemory;
  readonly #byLease = new Map<string, BoundRow>();
  readonly #byRow = new Map<number, string>();
  readonly #now = zeros();
  #rises = 0;

  constructor(memory: RowMemory) {
    this.#memory = memory;
  }

  /** How often a counter was found higher than before. */
  get rises(): number {
    return this.#rises;
  }

  /** The row is the lease's from now on, and no other's. False when there is no such row. */
  bind(row: number, report: UsageReport): boolean {
    if (row >= this.#memory.rows) return false;
    this.unbind(report.lease);
    // Its lease has ended, and the message about its end is still in flight.
    const before = this.#byRow.get(row);
    if (before !== undefined) this.unbind(before);
    this.#memory.clear(row);
    this.#byRow.set(row, report.lease);
    this.#byLease.set(report.lease, { row, report, seen: zeros() });
    return true;
  }

  /** The lease has ended: later adds to its row do not count. */
  unbind(lease: string): void {
    const bound = this.#byLease.get(lease);
    if (!bound) return;
    this.#byLease.delete(lease);
    this.#byRow.delete(bound.row);
  }

  /** Reports of the leases whose counters have risen since the last time. */
  read(): UsageReport[] {
    const reports: UsageReport[] = [];
    for (const bound of this.#byLease.values()) {
      this.#memory.read(bound.row, this.#now);
      const rises = this.#now.reduce((sum, n, i) => sum + Number(n > bound.seen[i]!), 0);
      if (rises === 0) continue;
      this.#rises += rises;
      bound.seen.set(this.#now);
      const { usage } = bound.report;
      // The first adds to a row bring what was told by message before.
      const sums = USAGE_COUNTERS.map((name, i) => [name, Math.max(usage[name], this.#now[i]!)]);
      bound.report = { ...bound.report, usage: Object.fromEntries(sums) as typeof usage };
      reports.push(bound.report);
    }
    return reports;
  }
}

const zeros = (): Float64Array<ArrayBuffer> =>
  new Float64Array(new ArrayBuffer(8 * COUNTERS_PER_ROW));
