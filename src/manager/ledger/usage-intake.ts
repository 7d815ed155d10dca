/**
 * What nodes report of their leases: kept in the ledger, confirmed when it is there, and the newest of each living lease for
 * those who ask. Batches that come close together are recorded as one.
 */
import { type Clock, SYSTEM_CLOCK, type Timer } from "../../base/clock.ts";
import type { UsageReport } from "../../protocol/manager-messages.ts";

/** Where bills are kept. `record` throws when it cannot keep them; it may be given the same report again. */
export interface LedgerSink {
  record(reports: readonly UsageReport[]): void;
  /** Resolves once another manager will have these last bills, too. Rejects where that cannot be: their nodes hand them in again. Left out, there is none. */
  keep?(ended: readonly UsageReport[]): Promise<void>;
}

export interface IntakeEvents {
  /** The ledger fails (with the reason) or works again (null). */
  ledger(problem: string | null): void;
}

interface Batch {
  reports: readonly UsageReport[];
  saved: () => void;
}

/** How long batches wait for others. */
const GATHER_MS = 10;
/** Reports that wait at most; more are recorded at once. */
const MAX_WAITING_REPORTS = 20_000;
/** Living leases of one node that are shown. */
const MAX_SHOWN_LEASES = 4_096;

/** A ledger that could not be written is tried again this often. */
const RETRY_INTERVAL_MS = 1_000;

export class UsageIntake {
  readonly #ledger: LedgerSink;
  readonly #events: IntakeEvents;
  readonly #living = new Map<string, Map<string, UsageReport>>();
  #waiting: Batch[] = [];
  #waitingReports = 0;
  readonly #clock: Clock;
  #timer: Timer | undefined;
  #retryTimer: Timer | undefined;
  #problem: string | null = null;

  constructor(ledger: LedgerSink, events: IntakeEvents, clock: Clock = SYSTEM_CLOCK) {
    this.#ledger = ledger;
    this.#events = events;
    this.#clock = clock;
  }

  /** Why the ledger cannot be written, if it cannot. */
  get problem(): string | null {
    return this.#problem;
  }

  /** Takes a batch; `saved` is called once it is in the ledger, and not at all when it cannot be. */
  add(reports: readonly UsageReport[], saved: () => void): void {
    this.#show(reports);
    this.#waiting.push({ reports, saved });
    this.#waitingReports += reports.length;
    if (this.#waitingReports >= MAX_WAITING_REPORTS) this.flush();
    else this.#timer ??= this.#clock.after(GATHER_MS, () => this.flush());
  }

  /** Records what waits. */
  flush(): void {
    this.#timer?.clear();
    this.#timer = undefined;
    const batches = this.#waiting;
    this.#waiting = [];
    this.#waitingReports = 0;
    if (batches.length === 0 || this.#save(batches) || batches.length === 1) return;
    // One batch that the ledger cannot record must not lose the others.
    for (const batch of batches) this.#save([batch]);
  }

  /** The newest report of each lease that goes on. */
  leases(): UsageReport[] {
    return [...this.#living.values()].flatMap((leases) => [...leases.values()]);
  }

  /** The newest report of a lease that goes on. */
  living(node: string, lease: string): UsageReport | undefined {
    return this.#living.get(node)?.get(lease);
  }

  /** The leases of a node that is lost are not shown; their bills stay. */
  forget(node: string): void {
    this.#living.delete(node);
  }

  /** What nodes have said of leases that go on is of a time before: they say it again. */
  forgetAll(): void {
    this.#living.clear();
  }

  #show(reports: readonly UsageReport[]): void {
    for (const report of reports) {
      let leases = this.#living.get(report.node);
      if (!leases) this.#living.set(report.node, (leases = new Map()));
      if (report.endedAtMs !== null) leases.delete(report.lease);
      else if (leases.has(report.lease) || leases.size < MAX_SHOWN_LEASES)
        leases.set(report.lease, report);
    }
  }

  #save(batches: readonly Batch[]): boolean {
    try {
      this.#ledger.record(batches.flatMap(({ reports }) => reports));
    } catch (error) {
      this.#became((error as Error).message);
      this.#retry(batches);
      return false;
    }
    this.#retryTimer?.clear();
    this.#became(null);
    const saved = (): void => {
      for (const batch of batches) batch.saved();
    };
    const ended = batches.flatMap(({ reports }) => reports.filter((one) => one.endedAtMs !== null));
    if (!this.#ledger.keep || ended.length === 0) saved();
    else this.#ledger.keep(ended).then(saved, () => {});
    return true;
  }

  /** Nodes send their bills again, but none may be left to do so; the retry tells nodes when they can grant leases again. */
  #retry(batches: readonly Batch[]): void {
    this.#retryTimer?.clear();
    const reports = batches.flatMap((batch) => batch.reports);
    this.#retryTimer = this.#clock.after(RETRY_INTERVAL_MS, () =>
      this.#save([{ reports, saved() {} }]),
    );
    this.#retryTimer.unref();
  }

  #became(problem: string | null): void {
    if ((this.#problem === null) === (problem === null)) return;
    this.#problem = problem;
    this.#events.ledger(problem);
  }
}
