/** Decides when a map blocks for results and when it yields to the event loop, as results may be ready for long. */
import type { LeaseCore } from "../calls/submission.ts";
import type { WorkerLane } from "../calls/worker-lane.ts";

/** Timers and sockets wait no longer than this. */
const GIVE_WAY_NS = 200_000;
/** When results follow each other faster than this, the map blocks for the next few: a turn of the event loop costs more. */
const QUICK_NS = 10_000;
/** The map reads the clock once in this many results. */
const RESULTS_PER_CLOCK = 64;

export class Pace {
  /** Results that were handed on. */
  #yielded = 0;
  #yieldedAtLook = 0;
  #lookedNs = 0;
  #turnedNs = Bun.nanoseconds();

  yielded(): void {
    this.#yielded++;
  }

  /** The event loop has turned. */
  turned(): void {
    this.#turnedNs = Bun.nanoseconds();
  }

  /** A turn of the event loop has begun that nothing goes before. */
  givesWay = false;

  /** Whether timers and sockets have waited long enough for a turn of the event loop: `then` goes on after that. */
  mustGiveWay(then: () => void): boolean {
    if (this.#yielded % RESULTS_PER_CLOCK !== 0) return false;
    if (Bun.nanoseconds() - this.#turnedNs < GIVE_WAY_NS) return false;
    this.givesWay = true;
    setImmediate(() => {
      this.givesWay = false;
      this.turned();
      then();
    });
    return true;
  }

  /** Whether the results since the last look came fast. */
  isQuick(): boolean {
    const nowNs = Bun.nanoseconds();
    const quick = nowNs - this.#lookedNs < QUICK_NS * (this.#yielded - this.#yieldedAtLook);
    this.#lookedNs = nowNs;
    this.#yieldedAtLook = this.#yielded;
    return quick;
  }
}

/** Ends the calls that have an answer: all of them, or where more are likely. */
export function harvestAll(leases: readonly LeaseCore[], misses?: number): void {
  for (const { lanes } of leases) for (const lane of lanes) lane.harvest(misses);
}

export function busiestOf(leases: readonly LeaseCore[]): WorkerLane | undefined {
  let busiest: WorkerLane | undefined;
  for (const { lanes } of leases)
    for (const lane of lanes) if (busiest === undefined || lane.load > busiest.load) busiest = lane;
  return busiest;
}
