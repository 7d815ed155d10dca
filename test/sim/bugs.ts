/** Bugs that are built in on purpose, around the code under test: a simulator that does not find them finds nothing. */
import { MAX_HOLD_MS, WaitingLine } from "../../src/executor/admission/waiting-line.ts";
import { type Due, LeaseBook } from "../../src/lease/book.ts";
import { Capacity, type Share } from "../../src/lease/capacity.ts";
import type { UsageReport } from "../../src/protocol/manager-messages.ts";
import { LedgerModel } from "./ledger.ts";

export const BUGS = [
  "double-credit",
  "double-settlement",
  "no-expiry",
  "no-load-limit",
  "no-hold-limit",
  "no-weights",
  "passed-offer-lost",
  "place-outlives-client",
  "youngest-first",
  "sleeping-line",
] as const;
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

export function newLine(
  bug: Bug | undefined,
  ...args: ConstructorParameters<typeof WaitingLine>
): WaitingLine {
  switch (bug) {
    case "no-hold-limit":
      return new NoHoldLimit(...args);
    case "no-weights":
      return new NoWeights(...args);
    case "passed-offer-lost":
      return new PassedOfferLost(...args);
    case "place-outlives-client":
      return new PlaceOutlivesClient(...args);
    case "youngest-first":
      return new YoungestFirst(...args);
    case "sleeping-line":
      return new SleepingLine(...args);
    default:
      return new WaitingLine(...args);
  }
}

type PlaceArgs = Parameters<WaitingLine["place"]>;

/** Holds an offer for as long as anybody may. */
class NoHoldLimit extends WaitingLine {
  override place(...[asking, wanted]: PlaceArgs): Promise<void> {
    return super.place(asking, { ...wanted, holdMs: MAX_HOLD_MS });
  }
}

/** Takes all users for equal. */
class NoWeights extends WaitingLine {
  override place(...[asking, wanted]: PlaceArgs): Promise<void> {
    return super.place({ ...asking, weight: 1 }, wanted);
  }
}

/** Hears nothing of it when a client passes. */
class PassedOfferLost extends WaitingLine {
  readonly #offered = new Map<object, Set<number>>();

  override place(...[asking, wanted]: PlaceArgs): Promise<void> {
    const { client, request } = asking;
    const offered = (workers: number, holdMs: number): void => {
      this.#offered.set(client, (this.#offered.get(client) ?? new Set<number>()).add(request));
      wanted.offered(workers, holdMs);
    };
    return super.place(asking, { ...wanted, offered });
  }

  override leave(client: object, request?: number): void {
    if (request === undefined || !this.#offered.get(client)?.has(request))
      super.leave(client, request);
  }
}

/** Keeps the places of clients that are gone. */
class PlaceOutlivesClient extends WaitingLine {
  override leave(client: object, request?: number): void {
    if (request !== undefined) super.leave(client, request);
  }
}

/** Takes who has waited long for who has just come. */
class YoungestFirst extends WaitingLine {
  override place(...[asking, wanted]: PlaceArgs): Promise<void> {
    return super.place(asking, { ...wanted, waitedMs: 0 });
  }
}

/** Serves those that come, and wakes nobody later. */
class SleepingLine extends WaitingLine {
  #comes = false;

  override place(...args: PlaceArgs): Promise<void> {
    this.#comes = true;
    try {
      return super.place(...args);
    } finally {
      this.#comes = false;
    }
  }

  override serve(): void {
    if (this.#comes) super.serve();
  }
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
