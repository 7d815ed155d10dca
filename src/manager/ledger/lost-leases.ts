/**
 * Leases whose node is lost: once it has been away for the grace, they end in the ledger, with what it has said of them and a mark. A
 * node that comes back, or a later run of it that hands in what the lost one has left, has the last word.
 */
import { countOf } from "../../base/units.ts";
import type { Clock } from "../../base/clock.ts";
import type { UsageReport } from "../../protocol/manager-messages.ts";

/** What a ledger knows of leases that go on. Both throw when it cannot be used. */
export interface OpenLeases {
  /** The latest report of every lease that has not ended. */
  live(): UsageReport[];
  presumeEnded(leases: readonly string[]): void;
}

/** After a failure of the ledger. */
const RETRY_MS = 1_000;

export interface LostLeasesOptions {
  ledger: OpenLeases;
  /** How long a node may be away, and how long after the manager's start it may take to come. */
  graceMs: number;
  log(level: "info" | "warn", message: string): void;
}

export class LostLeases {
  readonly #options: LostLeasesOptions;
  readonly #clock: Clock;
  /** Runs of nodes that are connected, and how often. */
  readonly #here = new Map<string, number>();
  /** Runs of nodes that are not, and since when. */
  readonly #awaySinceMs = new Map<string, number>();
  #dueMs = Number.NEGATIVE_INFINITY;

  constructor(options: LostLeasesOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  /** A run of a node has connected. */
  came(instance: string): void {
    this.#here.set(instance, (this.#here.get(instance) ?? 0) + 1);
    this.#awaySinceMs.delete(instance);
  }

  /** Its connection has ended. */
  went(instance: string): void {
    const left = (this.#here.get(instance) ?? 0) - 1;
    if (left > 0) return void this.#here.set(instance, left);
    this.#here.delete(instance);
    const nowMs = this.#clock.nowMs();
    this.#awaySinceMs.set(instance, nowMs);
    this.#dueMs = Math.min(this.#dueMs, nowMs + this.#options.graceMs);
  }

  /** Nodes have not been able to come until now: all are away since now. */
  beginAnew(nowMs: number): void {
    this.#awaySinceMs.clear();
    this.#dueMs = nowMs;
  }

  /** Ends the leases whose time has come. Never throws. */
  tick(nowMs: number): void {
    const { ledger, graceMs, log } = this.#options;
    if (nowMs < this.#dueMs) return;
    // Also without a node that is known to be away: it may have been there before the manager started.
    this.#dueMs = nowMs + graceMs;
    try {
      const lost = this.#lost(ledger.live(), nowMs);
      if (lost.length === 0) return;
      ledger.presumeEnded(lost.map(({ lease }) => lease));
      for (const [node, leases] of Map.groupBy(lost, (report) => report.node))
        log(
          "warn",
          `node ${node} has been away for ${graceMs / 1000} s: ${countOf(leases.length, "lease")} of it ended in the ledger, with what it had said last; should it come back, its word counts`,
        );
    } catch {
      // The ledger's own state says so to operators and nodes.
      this.#dueMs = nowMs + RETRY_MS;
    }
  }

  /** Those that have been away for too long; notes since when others are. */
  #lost(live: readonly UsageReport[], nowMs: number): UsageReport[] {
    const away = new Map<string, number>();
    const lost = live.filter(({ lease }) => {
      const instance = lease.slice(0, lease.lastIndexOf("/"));
      if (this.#here.has(instance)) return false;
      const sinceMs = this.#awaySinceMs.get(instance) ?? nowMs;
      away.set(instance, sinceMs);
      this.#dueMs = Math.min(this.#dueMs, Math.max(nowMs, sinceMs + this.#options.graceMs));
      return nowMs - sinceMs >= this.#options.graceMs;
    });
    this.#awaySinceMs.clear();
    for (const [instance, sinceMs] of away) this.#awaySinceMs.set(instance, sinceMs);
    return lost;
  }
}
