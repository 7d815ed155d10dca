/**
 * Bugs that are built in on purpose, each a wrong turn of one real part: a simulator that does not find them finds nothing. `README.md`
 * has them in a table.
 */
import { LeaseTimers } from "../../src/executor/agent/lease-timers.ts";
import type { BookedNode } from "../../src/executor/accounts/bookkeeper.ts";
import { ClusterQuota } from "../../src/executor/admission/cluster-quota.ts";
import { WaitingLine } from "../../src/executor/admission/waiting-line.ts";
import type { Clock } from "../../src/base/clock.ts";
import { LeaseBook } from "../../src/lease/book.ts";
import { Capacity } from "../../src/lease/capacity.ts";
import type { QuotaDesk } from "../../src/manager/peers/quota-desk.ts";
import { Registry } from "../../src/manager/nodes/registry.ts";
import { BOOKED, LEDGERS, REGISTRIES, never } from "./bugs/accounts.ts";
import { BOOKS, CAPACITIES, TIMERS } from "./bugs/leases.ts";
import { LINES } from "./bugs/lines.ts";
import { DESKS, QUOTAS } from "./bugs/quotas.ts";
import { LedgerModel } from "./ledger.ts";

/** What hides a bug of these names is in the clock, or between the manager and its ledger. */
const OTHERS = ["acknowledged-unkept", "ledger-unread", "sent-once"] as const;

export type Bug =
  | keyof typeof LINES
  | keyof typeof CAPACITIES
  | keyof typeof BOOKS
  | keyof typeof TIMERS
  | keyof typeof LEDGERS
  | keyof typeof REGISTRIES
  | keyof typeof BOOKED
  | keyof typeof QUOTAS
  | keyof typeof DESKS
  | (typeof OTHERS)[number];

// The parts name theirs; there is no other list of them.
const PARTS = [LINES, CAPACITIES, BOOKS, TIMERS, LEDGERS, REGISTRIES, BOOKED, QUOTAS, DESKS];
export const BUGS = PARTS.flatMap((part) => Object.keys(part) as Bug[])
  .concat(OTHERS)
  .toSorted();

/** What stands in for a part under this bug; undefined when the part is right. */
function wrong<Part>(parts: Readonly<Record<string, Part>>, bug: Bug | undefined) {
  return bug !== undefined && bug in parts ? parts[bug] : undefined;
}

export function newBook(bug: Bug | undefined, cpus: readonly number[], bytes: number): LeaseBook {
  const capacity = new (wrong<typeof Capacity>(CAPACITIES, bug) ?? Capacity)(cpus, bytes);
  return new (wrong<typeof LeaseBook>(BOOKS, bug) ?? LeaseBook)(capacity);
}

export function newTimers(
  bug: Bug | undefined,
  ...args: ConstructorParameters<typeof LeaseTimers>
): LeaseTimers {
  return new (wrong<typeof LeaseTimers>(TIMERS, bug) ?? LeaseTimers)(...args);
}

export function newLedger(bug: Bug | undefined, number: number): LedgerModel {
  return new (wrong<typeof LedgerModel>(LEDGERS, bug) ?? LedgerModel)(number);
}

export function newLine(
  bug: Bug | undefined,
  ...args: ConstructorParameters<typeof WaitingLine>
): WaitingLine {
  return new (wrong<typeof WaitingLine>(LINES, bug) ?? WaitingLine)(...args);
}

export function newRegistry(bug: Bug | undefined): Registry {
  return new (wrong<typeof Registry>(REGISTRIES, bug) ?? Registry)();
}

export function newQuota(bug: Bug | undefined, clock: Clock): ClusterQuota {
  return new (wrong<typeof ClusterQuota>(QUOTAS, bug) ?? ClusterQuota)(clock);
}

/** Of a manager that has just started. */
export function plantInQuotas(bug: Bug | undefined, desk: QuotaDesk): void {
  wrong(DESKS, bug)?.(desk);
}

/** A node as its bookkeeper has it. */
export function bookedBy(bug: Bug | undefined, node: BookedNode): BookedNode {
  return wrong(BOOKED, bug)?.(node) ?? node;
}

/** What a bookkeeper keeps time by: without the timeout of its requests it sends no report again. */
export function keeperClock(bug: Bug | undefined, clock: Clock): Clock {
  return bug === "sent-once" ? never(clock, 1_000) : clock;
}

/** Whether a manager that starts looks what is held by its ledger. */
export function readsLedger(bug: Bug | undefined): boolean {
  return bug !== "ledger-unread";
}

/** Whether the manager takes bills for kept that the disk has no room for. */
export function acknowledgesUnkept(bug: Bug | undefined): boolean {
  return bug === "acknowledged-unkept";
}
