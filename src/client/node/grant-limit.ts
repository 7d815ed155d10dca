/** Bounds the time in which a node answers, also where its network has gone and neither side is told. */
import type { Clock, Timer } from "../../base/clock.ts";
import { LinkedSignal, untilAborted } from "../../base/waiting.ts";
import type { AllocateOptions } from "../options/allocate-options.ts";

/** What a grant may take besides waiting for room and loading the module. */
export const GRANT_LIMIT_MS = 5000;

type Bounded = Pick<AllocateOptions, "onProgress" | "signal">;

/** Takes a lease within `limitMs`, which progress of an upload begins anew; `late` makes the error. A lease that comes later is given back. */
export async function takenWithin<Lease extends { release(): Promise<unknown> }>(
  limitMs: number,
  clock: Clock,
  options: Bounded,
  late: () => Error,
  take: (
    bounded: Required<Pick<Bounded, "onProgress">> & { signal: AbortSignal },
  ) => Promise<Lease>,
): Promise<Lease> {
  const limit = new Limit(limitMs, clock);
  const onProgress: AllocateOptions["onProgress"] = (progress) => {
    limit.extend();
    options.onProgress?.(progress);
  };
  const overdue = new AbortController();
  using stop = new LinkedSignal(options.signal, overdue.signal);
  const { signal } = stop;
  const granted = take({ onProgress, signal });
  try {
    return await untilAborted(limit.bound(granted, late), signal);
  } catch (error) {
    overdue.abort(error);
    granted.then((unwanted) => unwanted.release()).catch(() => {});
    throw error;
  }
}

/** A timeout that progress restarts. */
export class Limit {
  readonly #limitMs: number;
  readonly #overdue = Promise.withResolvers<never>();
  #late: () => Error = () => new Error("overdue");
  readonly #clock: Clock;
  #timer: Timer | undefined;
  #over = false;

  constructor(limitMs: number, clock: Clock) {
    this.#limitMs = limitMs;
    this.#clock = clock;
  }

  /** Restarts the timeout. */
  extend(): void {
    this.#timer?.clear();
    if (this.#over) return;
    this.#timer = this.#clock.after(this.#limitMs, () => this.#overdue.reject(this.#late()));
  }

  /** The promise's value, or the error that `late` makes when the time is up. */
  async bound<T>(promise: Promise<T>, late: () => Error): Promise<T> {
    this.#late = late;
    this.extend();
    try {
      return await Promise.race([promise, this.#overdue.promise]);
    } finally {
      this.#timer?.clear();
      this.#over = true;
    }
  }
}
