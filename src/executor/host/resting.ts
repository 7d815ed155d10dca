/** A host's workers on their way to rest: whether all have come to it, and whether one lease can follow another there. */
import type { ProcessTraces } from "./traces.ts";

export class Resting {
  readonly #workers: number;
  readonly #traces: ProcessTraces;
  #awaited = 0;
  /** What was found first. */
  #left: string | null = null;
  #spoilt = false;
  #onAll: (left: string | null) => void = () => {};

  constructor(workers: number, traces: ProcessTraces) {
    this.#workers = workers;
    this.#traces = traces;
  }

  /** From {@link begin} to {@link end}. */
  active = false;

  /** A thread was replaced: its functions may have been ended in the middle of something. */
  spoil(): void {
    this.#spoilt = true;
  }

  /** Calls `onAll` when all workers rest, with what is left behind in words, or null. */
  begin(onAll: (left: string | null) => void): void {
    this.active = true;
    this.#awaited = this.#workers;
    this.#left = this.#spoilt ? "a worker whose thread was replaced" : null;
    this.#onAll = onAll;
  }

  /** A worker rests, and has found this. `own` are descriptors of the lease. */
  rested(left: string | null, own: readonly number[]): void {
    this.#left ??= left;
    if (--this.#awaited > 0) return;
    if (this.#left !== null) return this.#onAll(this.#left);
    void this.#traces.left(own).then((found) => this.#onAll(found));
  }

  /** Another lease has come. */
  end(): void {
    this.active = false;
  }
}
