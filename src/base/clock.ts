/**
 * The time, and timers. Code that needs time takes a clock as a parameter, so that a test or the simulator runs the same code in a
 * time of its own.
 */

/** A timer; it keeps the program alive until it is cleared, has fired once, or is {@link unref}ed. */
export interface Timer {
  clear(): void;
  ref(): void;
  unref(): void;
}

export interface Clock {
  /** Of the monotonic clock, which no setting of the time changes; its zero means nothing. */
  nowNs(): number;
  /** Of a monotonic clock in milliseconds, with a zero of its own. */
  nowMs(): number;
  /** Milliseconds since 1970, for people and for bills. */
  wallMs(): number;
  /** Calls back once, when `delayMs` have passed. */
  after(delayMs: number, run: () => void): Timer;
  /** Calls back every `intervalMs`. */
  every(intervalMs: number, run: () => void): Timer;
}

/** The longest delay of a timer of the event loop. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** A timer of the event loop, which is cleared in the same way whether it is called once or again and again. */
class LoopTimer implements Timer {
  readonly #timer: ReturnType<typeof setTimeout>;

  constructor(timer: ReturnType<typeof setTimeout>) {
    this.#timer = timer;
  }

  clear(): void {
    clearTimeout(this.#timer);
  }

  ref(): void {
    this.#timer.ref();
  }

  unref(): void {
    this.#timer.unref();
  }
}

/** The machine's clock and the event loop's timers. */
export const SYSTEM_CLOCK: Clock = {
  nowNs: () => Bun.nanoseconds(),
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  after: (delayMs, run) => new LoopTimer(setTimeout(run, Math.min(delayMs, MAX_DELAY_MS))),
  every: (intervalMs, run) => new LoopTimer(setInterval(run, Math.min(intervalMs, MAX_DELAY_MS))),
};

/** How far a clock that is slewed may run from the monotonic one. */
const MAX_DRIFT_MS = 10;

/**
 * Wall time to the microsecond: of two moments the later one has the larger number, unless the clock was set. `random` says where in its
 * millisecond it begins, so that no two programs' moments are the same.
 */
export class FineWallTime {
  readonly #clock: Clock;
  readonly #random: () => number;
  #offsetMs = Infinity;

  constructor(clock: Clock, random: () => number = Math.random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Milliseconds since 1970. */
  nowMs(): number {
    const nowMs = this.#clock.nowMs();
    return nowMs + this.#offset(nowMs);
  }

  /** What the clock's monotonic time was then. */
  monotonicMs(wallMs: number): number {
    return wallMs - this.#offset(this.#clock.nowMs());
  }

  #offset(nowMs: number): number {
    const offsetMs = this.#clock.wallMs() - nowMs;
    if (!(Math.abs(offsetMs - this.#offsetMs) <= MAX_DRIFT_MS))
      this.#offsetMs = offsetMs + this.#random();
    return this.#offsetMs;
  }
}
