/**
 * When the workers of a lease that is being taken back begin calls no more: so early that those which have begun can end. What a function takes
 * is not known beforehand, so it is learned from the calls that run meanwhile; one that has run for long counts before it ends.
 */

/** What the intake needs of a worker's control. */
export interface Closable {
  close(): void;
  active(slots: number): Iterable<number>;
}

/** How often running calls are looked at. */
export const LOOK_MS = 20;
/** Calls of the same function take longer now and then. */
const ALLOWANCE = 1.25;

export class Intake {
  readonly #workers: readonly Closable[];
  readonly #slots: number;
  /** Of each worker, since when its calls are seen to run, by sequence. */
  readonly #since: Map<number, number>[];
  /** What the longest call has taken so far. */
  #longestMs = 0;
  #endMs = Infinity;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(workers: readonly Closable[], slots: number) {
    this.#workers = workers;
    this.#slots = slots;
    this.#since = workers.map(() => new Map());
  }

  /** The lease ends at `endMs`, by `performance.now()`. The earliest end counts. */
  endsAt(endMs: number): void {
    this.#endMs = Math.min(this.#endMs, endMs);
    if (this.#timer !== undefined) return;
    this.#timer = setInterval(() => this.look(performance.now()), LOOK_MS);
    this.#timer.unref();
    this.look(performance.now());
  }

  /** Looks at the running calls, and closes the intake when what is left is no more than the longest may take. */
  look(nowMs: number): void {
    for (const [worker, control] of this.#workers.entries()) {
      const running = new Set(control.active(this.#slots));
      const since = this.#since[worker]!;
      for (const sequence of running) if (!since.has(sequence)) since.set(sequence, nowMs);
      for (const [sequence, atMs] of since) {
        this.#longestMs = Math.max(this.#longestMs, nowMs - atMs);
        if (!running.has(sequence)) since.delete(sequence);
      }
    }
    if (nowMs + ALLOWANCE * this.#longestMs + 2 * LOOK_MS < this.#endMs) return;
    this.stop();
    for (const control of this.#workers) control.close();
  }

  /** The lease is over, and another one may have its workers. */
  stop(): void {
    clearInterval(this.#timer);
  }
}
