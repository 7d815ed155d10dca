/**
 * Drives awaited calls from the event loop: looks for answers in quick turns first, then sleeps until the fabric says that one
 * has come.
 */
import type { Call } from "./call.ts";

/** Turning costs CPU; being woken costs about this long. */
const TURN_NS = 50_000;
const BRIEFLY_NS = 2_000;
/** A sleeper looks this often whether anybody can still answer. */
const CHECK_MS = 250;

/** What the reactor needs of the lease's workers. */
export interface Reactive {
  /** Ends every call that has an answer; returns how many. */
  harvest(): number;
  /** From now on an answer rouses the reactor. */
  park(): void;
  unpark(): void;
  /** Ends calls that nobody can answer any more; returns whether there were any. */
  endStranded(): boolean;
}

export class Reactor {
  readonly #source: Reactive;
  #watched = 0;
  #running = false;
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(source: Reactive) {
    this.#source = source;
  }

  /** Follows the call to its end. */
  watch(call: Call): void {
    if (call.watched || call.done) return;
    call.watched = true;
    const { cleanUp } = call;
    call.cleanUp = () => {
      cleanUp?.();
      this.rest();
    };
    this.follow();
  }

  /** Looks for answers until {@link rest} has been called as often. */
  follow(): void {
    this.#watched++;
    if (!this.#running) void this.#run();
  }

  rest(): void {
    this.#watched--;
    if (this.#watched === 0) this.rouse();
  }

  /** Ends the sleep, if there is one. A blocking wait elsewhere takes the workers' wake-up over, so it calls this afterwards. */
  rouse(): void {
    if (this.#wake === undefined) return;
    this.#wake();
    this.#wake = undefined;
  }

  /** Ends it for good; the endpoints may be closed afterwards. */
  close(): void {
    this.#closed = true;
    this.rouse();
  }

  async #run(): Promise<void> {
    this.#running = true;
    let progressNs = Bun.nanoseconds();
    let turnedNs = progressNs;
    while (this.#watched > 0 && !this.#closed) {
      if (this.#harvestBriefly() > 0) {
        progressNs = Bun.nanoseconds();
        // Whoever waited goes on first, and may submit again.
        await Promise.resolve();
        if (progressNs - turnedNs < TURN_NS) continue;
      } else if (Bun.nanoseconds() - progressNs > TURN_NS) {
        await this.#sleep();
        progressNs = Bun.nanoseconds();
      }
      await new Promise((resolve) => setImmediate(resolve));
      turnedNs = Bun.nanoseconds();
    }
    this.#running = false;
  }

  /** A hot call takes less than a turn of the event loop: look for so long before giving way. */
  #harvestBriefly(): number {
    const startedNs = Bun.nanoseconds();
    let ended = 0;
    do ended = this.#source.harvest();
    while (ended === 0 && Bun.nanoseconds() - startedNs < BRIEFLY_NS);
    return ended;
  }

  async #sleep(): Promise<void> {
    this.#source.park();
    // An answer may have come before the workers knew that we sleep.
    if (this.#source.harvest() === 0 && this.#watched > 0) {
      // It also keeps the program alive until the call ends.
      const check = setInterval(() => this.#source.endStranded() && this.rouse(), CHECK_MS);
      await new Promise<void>((resolve) => (this.#wake = resolve));
      clearInterval(check);
    }
    if (!this.#closed) this.#source.unpark();
  }
}
