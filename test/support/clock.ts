/** A clock that stands still until a test lets time pass. */
import { drainMicrotasks } from "bun:jsc";
import type { Clock, Timer } from "../../src/base/clock.ts";

interface Planned {
  atMs: number;
  intervalMs: number | undefined;
  run: () => void;
}

export class TestClock implements Clock {
  #nowMs = 1000;
  readonly #planned = new Set<Planned>();

  nowMs(): number {
    return this.#nowMs;
  }

  nowNs(): number {
    return this.#nowMs * 1e6;
  }

  wallMs(): number {
    return Date.UTC(2026, 0, 1) + this.#nowMs;
  }

  after(delayMs: number, run: () => void): Timer {
    return this.#plan({ atMs: this.#nowMs + Math.max(0, delayMs), intervalMs: undefined, run });
  }

  every(intervalMs: number, run: () => void): Timer {
    return this.#plan({ atMs: this.#nowMs + intervalMs, intervalMs, run });
  }

  /** Timers that wait. */
  get waiting(): number {
    return this.#planned.size;
  }

  /** Lets time pass, from timer to timer; promises settle after each. */
  pass(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      drainMicrotasks();
      const [next] = [...this.#planned].toSorted((a, b) => a.atMs - b.atMs);
      if (!next || next.atMs > untilMs) break;
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      if (next.intervalMs === undefined) this.#planned.delete(next);
      else next.atMs += next.intervalMs;
      next.run();
    }
    this.#nowMs = untilMs;
  }

  /** The machine stands still: what was due meanwhile comes late, all of it now. */
  standStill(ms: number): void {
    this.#nowMs += ms;
    this.pass(0);
  }

  #plan(planned: Planned): Timer {
    this.#planned.add(planned);
    return { clear: () => void this.#planned.delete(planned), ref() {}, unref() {} };
  }
}
