/** Wrong turns on the way of bills and of what is free: a node's bookkeeper, the manager's view of nodes, and the ledger. */
import type { Clock } from "../../../src/base/clock.ts";
import type { AgentEvents } from "../../../src/executor/agent/agent.ts";
import type { BookedNode } from "../../../src/executor/accounts/bookkeeper.ts";
import type { CapacityReport } from "../../../src/manager/nodes/known/node.ts";
import type { Session } from "../../../src/manager/nodes/known/entry.ts";
import { Registry } from "../../../src/manager/nodes/registry.ts";
import type { UsageReport } from "../../../src/protocol/manager-messages.ts";
import { LedgerModel } from "../ledger.ts";

/** Counts a final report again when it comes again. */
class DoubleSettlement extends LedgerModel {
  override record(report: UsageReport): void {
    const again = report.endedAtMs !== null && this.row(report.lease)?.endedAtMs != null;
    super.record(report);
    if (again) this.owes(report.user, report.usage.allocationCoreNs);
  }
}

/** Does not take the end of a lease down that it knows already. */
class EndNotTaken extends LedgerModel {
  override record(report: UsageReport): void {
    const known = this.row(report.lease) !== undefined;
    super.record(known ? { ...report, endedAtMs: null } : report);
  }
}

/** Goes on to believe in nodes whose connection is lost. */
class LostStaysUp extends Registry {
  override lost(): void {}
}

/** Does not see that a node serves again that it had told to drain. */
class ResumeUnseen extends Registry {
  override resume(name: string): boolean {
    return this.get(name) !== undefined;
  }
}

/** Does not hear that a node drains no more. */
class DrainsForGood extends Registry {
  readonly #draining = new Set<Session>();

  override report(session: Session, capacity: CapacityReport, nowMs: number): void {
    if (capacity.draining) this.#draining.add(session);
    super.report(session, { ...capacity, draining: this.#draining.has(session) }, nowMs);
  }
}

/** Tells no client of nodes that have left. */
class LeaverUntold extends Registry {
  #leaves = false;

  override leave(session: Session): void {
    this.#leaves = true;
    super.leave(session);
    this.#leaves = false;
  }

  override onChange(listener: (name: string) => void): () => void {
    return super.onChange((name) => {
      if (!this.#leaves) listener(name);
    });
  }
}

/** A node as its bookkeeper has it, with what it is told or is asked to do in between. */
function between(node: BookedNode, own: Partial<BookedNode>): BookedNode {
  return new Proxy(node, {
    get(target, name) {
      const value: unknown = Reflect.get(name in own ? own : target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** What a bookkeeper makes of its node. */
export const BOOKED = {
  /** The node refuses leases for ever once the ledger could not be written. */
  "refuses-for-good": (node: BookedNode) =>
    between(node, {
      refuse(reason) {
        if (reason !== null) node.refuse(reason);
      },
    }),
  /** Does not say that the last lease is over. */
  "last-lease-untold": (node: BookedNode) =>
    between(node, {
      watch: (events) =>
        watching(node, events, {
          capacity: () => (node.leaseCount === 0 ? undefined : events.capacity()),
        }),
    }),
  /** Makes no bill for a lease that could never be used. */
  "unloaded-unbilled": (node: BookedNode) =>
    between(node, {
      watch: (events) =>
        watching(node, events, {
          usage(bill) {
            if (bill.ended?.reason !== "load-failed") events.usage(bill);
          },
        }),
    }),
  /** Does not hand in the bill of a client that is gone. */
  "gone-unbilled": (node: BookedNode) =>
    between(node, {
      watch: (events) =>
        watching(node, events, {
          usage(bill) {
            if (bill.ended?.reason !== "client-gone") events.usage(bill);
          },
        }),
    }),
};

function watching(node: BookedNode, events: AgentEvents, own: Partial<AgentEvents>): void {
  node.watch({ ...events, ...own });
}

export const LEDGERS = { "double-settlement": DoubleSettlement, "end-not-taken": EndNotTaken };
export const REGISTRIES = {
  "drains-for-good": DrainsForGood,
  "leaver-untold": LeaverUntold,
  "lost-stays-up": LostStaysUp,
  "resume-unseen": ResumeUnseen,
};

/** A clock on which what would have gone off after so long never does. */
export function never(clock: Clock, delayMs: number): Clock {
  return {
    nowNs: () => clock.nowNs(),
    nowMs: () => clock.nowMs(),
    wallMs: () => clock.wallMs(),
    every: (intervalMs, run) => clock.every(intervalMs, run),
    after: (afterMs, run) =>
      afterMs === delayMs ? { clear() {}, ref() {}, unref() {} } : clock.after(afterMs, run),
  };
}
