/** The ledger as nodes and users see it: a row for each lease, whose counters only rise, and what each user owes. */
import type { Usage, UsageReport } from "../../src/protocol/manager-messages.ts";

interface Row {
  user: string;
  endedAtMs: number | null;
  usage: Usage;
  /** How often a final report was counted. */
  settlements: number;
  last: UsageReport;
}

export class LedgerModel {
  /** One that starts empty has another number. */
  readonly number: number;
  /** The disk under it is full: nothing is recorded, and nothing acknowledged. */
  full = false;
  readonly #presumed = new Set<string>();
  readonly #rows = new Map<string, Row>();
  readonly #leasesOf = new Map<string, Set<string>>();
  readonly #totals = new Map<string, number>();

  constructor(number: number) {
    this.number = number;
  }

  row(lease: string): Readonly<Row> | undefined {
    return this.#rows.get(lease);
  }

  keys(): IterableIterator<string> {
    return this.#rows.keys();
  }

  /** Of leases that have not ended. */
  live(): UsageReport[] {
    return [...this.#rows].flatMap(([lease, { endedAtMs, last }]) =>
      endedAtMs === null && !this.#presumed.has(lease) ? last : [],
    );
  }

  /** Their nodes are lost. */
  presumeEnded(leases: readonly string[]): void {
    for (const lease of leases) this.#presumed.add(lease);
  }

  users(): IterableIterator<string> {
    return this.#leasesOf.keys();
  }

  leasesOf(user: string): Iterable<string> {
    return this.#leasesOf.get(user) ?? [];
  }

  total(user: string): number {
    return this.#totals.get(user) ?? 0;
  }

  record(report: UsageReport): void {
    const { lease, user, endedAtMs, usage } = report;
    const row = this.#rows.get(lease);
    const before = row?.usage.allocationCoreNs ?? 0;
    const merged = row ? mostOf(row.usage, usage) : usage;
    const settles = endedAtMs !== null && (row?.endedAtMs ?? null) === null;
    this.#rows.set(lease, {
      user,
      endedAtMs: row?.endedAtMs ?? endedAtMs,
      usage: merged,
      settlements: (row?.settlements ?? 0) + (settles ? 1 : 0),
      last: report,
    });
    const leases = this.#leasesOf.get(user);
    if (leases) leases.add(lease);
    else this.#leasesOf.set(user, new Set([lease]));
    this.owes(user, merged.allocationCoreNs - before);
  }

  protected owes(user: string, coreNs: number): void {
    this.#totals.set(user, this.total(user) + coreNs);
  }
}

function mostOf(a: Usage, b: Usage): Usage {
  return {
    allocationCoreNs: Math.max(a.allocationCoreNs, b.allocationCoreNs),
    executionNs: Math.max(a.executionNs, b.executionNs),
    pollingNs: Math.max(a.pollingNs, b.pollingNs),
    calls: Math.max(a.calls, b.calls),
    bytes: Math.max(a.bytes, b.bytes),
  };
}
