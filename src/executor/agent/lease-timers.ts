/** When an agent must look at its leases: when the next one is due, and regularly while somebody wants to know what they use. */
import type { Due, LeaseBook } from "../../lease/book.ts";
import type { LeasedHost } from "./leased-host.ts";

/** Budgets are checked, and bills go to the manager, this often. */
const METER_INTERVAL_MS = 100;
/** A timer that is so late says that the machine, or this process, was suspended or starved. */
const STOOD_STILL_NS = 50e6;
/** Timers fire up to a millisecond early. */
const TIMER_SLACK_MS = 1;

export interface TimedLeases {
  /** Undefined while its host is still being started. */
  lease(id: number): LeasedHost | undefined;
  /** Leases whose time has come. */
  due(all: readonly Due[]): void;
  meter(): void;
}

export class LeaseTimers {
  readonly #book: LeaseBook;
  readonly #leases: TimedLeases;
  /** Leases that were renewed because the machine stood still, and have not been used since. */
  readonly #excused = new Set<number>();
  #dueTimer: ReturnType<typeof setTimeout> | undefined;
  #meterTimer: ReturnType<typeof setInterval> | undefined;

  constructor(book: LeaseBook, leases: TimedLeases) {
    this.#book = book;
    this.#leases = leases;
  }

  /** Wakes the agent when the next lease is due. A call is as good as a renewal: a program that only calls needs no timers. */
  schedule(): void {
    clearTimeout(this.#dueTimer);
    const dueNs = this.#book.nextDueNs();
    if (dueNs === Infinity) return;
    const inMs = Math.max(0, (dueNs - Bun.nanoseconds()) / 1e6) + TIMER_SLACK_MS;
    this.#dueTimer = setTimeout(
      () => {
        const atNs = Bun.nanoseconds();
        const stoodStill = atNs - dueNs > STOOD_STILL_NS;
        for (const id of this.#book.dueLeases(atNs)) this.#renewIfUsed(id, atNs, stoodStill);
        this.#leases.due(this.#book.passTime(atNs));
        this.schedule();
      },
      Math.min(inMs, 2 ** 31 - 1),
    );
  }

  /** Somebody wants to know what leases use, or a lease has a bound. */
  startMeters(): void {
    this.#meterTimer ??= setInterval(() => this.#leases.meter(), METER_INTERVAL_MS);
  }

  /** Nothing is leased. */
  rest(): void {
    clearTimeout(this.#dueTimer);
    clearInterval(this.#meterTimer);
    this.#meterTimer = undefined;
    this.#excused.clear();
  }

  /** When the machine stood still, the client may have, too: a lease is excused once for that. */
  #renewIfUsed(id: number, atNs: number, stoodStill: boolean): void {
    const lease = this.#leases.lease(id);
    if (!lease) return;
    const used = lease.wasUsed();
    if (used || (stoodStill && !this.#excused.has(id))) lease.advance({ kind: "renewed", atNs });
    if (stoodStill && !used) this.#excused.add(id);
    else this.#excused.delete(id);
  }
}
