/**
 * Drives awaited calls from the event loop: looks for answers in quick turns first, then sleeps until the fabric says that one
 * has come.
 */
import type { Call } from "./call.ts";

/** Polling costs CPU; a wake-up costs about this long. */
const TURN_NS = 50_000;
const BRIEFLY_NS = 2_000;
/** How often a sleeping reactor checks that the workers of pending calls are alive. */
const CHECK_MS = 250;

/** What the reactor needs of the lease's workers. */
export interface Reactive {
  /** Ends calls that have an answer; returns how many. `quickly`: looks no further than where more are likely. */
  harvest(quickly: boolean): number;
  /** From now on an answer rouses the reactor. */
  park(): void;
  unpark(): void;
  /** Ends calls whose workers are lost; returns whether there were any. */
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
    if (call.done || call.details.watched) return;
    call.details.watched = true;
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

  /** Stops the reactor; the endpoints may be closed afterwards. */
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
        // The awaiting callers run first, and may submit again.
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

  /** A hot call takes less than a turn of the event loop, so poll this long before yielding to it. */
  #harvestBriefly(): number {
    const startedNs = Bun.nanoseconds();
    let ended = 0;
    do ended = this.#source.harvest(true);
    while (ended === 0 && Bun.nanoseconds() - startedNs < BRIEFLY_NS);
    return ended > 0 ? ended : this.#source.harvest(false);
  }

  async #sleep(): Promise<void> {
    this.#source.park();
    // An answer may have come before the workers knew that we sleep.
    if (this.#source.harvest(false) === 0 && this.#watched > 0) {
      // The timer also keeps the process alive until the call ends. Over a network its look may take an answer in before the fabric
      // tells of it, so it looks for what has come as well.
      const check = setInterval(() => {
        if (this.#source.endStranded() || this.#source.harvest(false) > 0) this.rouse();
      }, CHECK_MS);
      await new Promise<void>((resolve) => (this.#wake = resolve));
      clearInterval(check);
    }
    if (!this.#closed) this.#source.unpark();
  }
}
