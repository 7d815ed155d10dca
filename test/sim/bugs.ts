/** Bugs that are built in on purpose, around the code under test: a simulator that does not find them finds nothing. */
import { type Due, LeaseBook } from "../../src/lease/book.ts";
import { Capacity, type Share } from "../../src/lease/capacity.ts";
import type { UsageReport } from "../../src/protocol/manager-messages.ts";
import { LedgerModel } from "./ledger.ts";

export const BUGS = ["double-credit", "double-settlement", "no-expiry", "no-load-limit"] as const;
export type Bug = (typeof BUGS)[number];

export function newBook(bug: Bug | undefined, cpus: readonly number[], bytes: number): LeaseBook {
  const capacity =
    bug === "double-credit" ? new DoubleCredit(cpus, bytes) : new Capacity(cpus, bytes);
  if (bug === "no-load-limit") return new NoLoadLimit(capacity);
  return bug === "no-expiry" ? new NoExpiry(capacity) : new LeaseBook(capacity);
}

export function newLedger(bug: Bug | undefined, number: number): LedgerModel {
  return bug === "double-settlement" ? new DoubleSettlement(number) : new LedgerModel(number);
}

/** Gives the share of a lease back twice. */
class DoubleCredit extends Capacity {
  override give(share: Share): void {
    super.give(share);
    super.give(share);
  }
}

/** Counts a final report again when it comes again. */
class DoubleSettlement extends LedgerModel {
  override record(report: UsageReport): void {
    const again = report.endedAtMs !== null && this.row(report.lease)?.endedAtMs != null;
    super.record(report);
    if (again) this.owes(report.user, report.usage.allocationCoreNs);
  }
}

/** Never ends a lease whose time is over. */
class NoLoadLimit extends LeaseBook {
  override request(
    ...[wanted, atNs]: Parameters<LeaseBook["request"]>
  ): ReturnType<LeaseBook["request"]> {
    return super.request({ ...wanted, loadLimitNs: Number.MAX_SAFE_INTEGER }, atNs);
  }
}

class NoExpiry extends LeaseBook {
  override passTime(): Due[] {
    return [];
  }

  override nextDueNs(): number {
    return Infinity;
  }
}
