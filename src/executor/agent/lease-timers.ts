/** When an agent must look at its leases: when the next one is due, and at intervals while their usage is metered. */
import { type Clock, SYSTEM_CLOCK, type Timer } from "../../base/clock.ts";
import type { Due, LeaseBook } from "../../lease/book.ts";
import type { LeaseEvent } from "../../lease/lease.ts";

/** How often the agent checks budgets and reports bills, unless a test has less time. */
const METER_INTERVAL_MS = 100;
/** A timer that is later than this shows that the machine, or this process, was suspended or starved. */
const STOOD_STILL_NS = 50e6;
/** Timers fire up to a millisecond early. */
const TIMER_SLACK_MS = 1;

/** What the timers need of a lease. */
export interface TimedLease {
  /** Whether its workers have had calls since the last look. */
  wasUsed(): boolean;
  advance(event: LeaseEvent): void;
}

export interface TimedLeases {
  /** Undefined while its host is still being started. */
  lease(id: number): TimedLease | undefined;
  /** Leases whose time has come. */
  due(all: readonly Due[]): void;
  meter(): void;
}

export class LeaseTimers {
  readonly #book: LeaseBook;
  readonly #leases: TimedLeases;
  /** Leases that were renewed because the machine stood still, and have not been used since. */
  readonly #excused = new Set<number>();
  readonly #clock: Clock;
  readonly #meterIntervalMs: number;
  #dueTimer: Timer | undefined;
  #meterTimer: Timer | undefined;

  constructor(
    book: LeaseBook,
    leases: TimedLeases,
    clock: Clock = SYSTEM_CLOCK,
    meterIntervalMs = METER_INTERVAL_MS,
  ) {
    this.#book = book;
    this.#leases = leases;
    this.#clock = clock;
    this.#meterIntervalMs = meterIntervalMs;
  }

  /** Wakes the agent when the next lease is due. A call is as good as a renewal: a program that only calls needs no timers. */
  schedule(): void {
    this.#dueTimer?.clear();
    const dueNs = this.#book.nextDueNs();
    if (dueNs === Infinity) return;
    const inMs = Math.max(0, (dueNs - this.#clock.nowNs()) / 1e6) + TIMER_SLACK_MS;
    this.#dueTimer = this.#clock.after(inMs, () => {
      const atNs = this.#clock.nowNs();
      const stoodStill = atNs - dueNs > STOOD_STILL_NS;
      for (const id of this.#book.dueLeases(atNs)) this.#renewIfUsed(id, atNs, stoodStill);
      this.#leases.due(this.#book.passTime(atNs));
      this.schedule();
    });
  }

  /** The bookkeeper wants the usage of running leases, or a lease has a budget. */
  startMeters(): void {
    this.#meterTimer ??= this.#clock.every(this.#meterIntervalMs, () => this.#leases.meter());
  }

  /** Nothing is leased. */
  rest(): void {
    this.#dueTimer?.clear();
    this.#meterTimer?.clear();
    this.#meterTimer = undefined;
    this.#excused.clear();
  }

  /** When the machine stood still, the client may have, too: a lease is excused once for that. */
  #renewIfUsed(id: number, atNs: number, stoodStill: boolean): void {
    const lease = this.#leases.lease(id);
    if (!lease) return;
    const used = lease.wasUsed();
    // Its client has the memory, though it may not have come to say so.
    if (used) lease.advance({ kind: "redeemed", atNs });
    if (used || (stoodStill && !this.#excused.has(id))) lease.advance({ kind: "renewed", atNs });
    if (stoodStill && !used) this.#excused.add(id);
    else this.#excused.delete(id);
  }
}
