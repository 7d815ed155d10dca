/** Hosts that wait for a lease, and have loaded nothing. One that was taken does not come back: users do not share a process. */

import { type Clock, SYSTEM_CLOCK } from "../../base/clock.ts";
import { shortage } from "../../base/shortage.ts";
import type { RoomTerms } from "../sandbox/driver.ts";

/** A new spare is started this long after one was taken, so that its start does not disturb the lease's first calls. */
const REFILL_DELAY_MS = 25;
/** The pause after a host that failed to start, or died early; it doubles with each further failure. */
const MIN_RETRY_MS = 100;
const MAX_RETRY_MS = 30_000;
/** A host that dies after waiting this long does not count as a failed start. */
const STABLE_MS = 10_000;

/** What the pool needs of a host. */
export interface PooledHost {
  /** Resolves when it waits for a lease; rejects when it dies before. */
  readonly ready: Promise<void>;
  /** Resolves when it is gone. */
  readonly exited: Promise<unknown>;
  kill(): void;
}

export interface HostPoolOptions<Host extends PooledHost> {
  /** How many hosts to keep waiting. */
  size: number;
  /**
   * Starts a host, to wait or for a lease of so many workers, which may have a room of its own terms. Throws when the machine has no
   * descriptors, processes or memory for it.
   */
  spawn(workers?: number, terms?: RoomTerms): Host;
  log(level: "info" | "warn", message: string): void;
  clock?: Clock;
}

export class HostPool<Host extends PooledHost> {
  readonly #options: HostPoolOptions<Host>;
  readonly #clock: Clock;
  readonly #spares = new Set<Host>();
  /** Since when each waits. */
  readonly #ready = new Map<Host, number>();
  /** In a row. */
  #failures = 0;
  #pausing = false;
  #closed = false;

  constructor(options: HostPoolOptions<Host>) {
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#refill();
  }

  /** How many hosts could take a lease at once. */
  get readyCount(): number {
    return this.#ready.size;
  }

  /**
   * A host for one lease of so many workers: a waiting one, else one that is starting, else a new one. Those that wait have the node's terms:
   * a lease with terms of its own gets a new one. Rejects when it cannot start.
   */
  async take(workers: number, terms?: RoomTerms): Promise<{ host: Host; prewarmed: boolean }> {
    if (terms) return await this.#fresh(workers, terms);
    const [waiting] = this.#ready.keys();
    const [starting] = this.#spares;
    const spare = waiting ?? starting;
    if (spare) this.#spares.delete(spare);
    const prewarmed = spare !== undefined && this.#ready.delete(spare);
    if (prewarmed) this.#failures = 0;
    this.#later(() => this.#refill(), REFILL_DELAY_MS);
    if (spare && (await isReady(spare))) return { host: spare, prewarmed };
    return await this.#fresh(workers);
  }

  async #fresh(workers: number, terms?: RoomTerms): Promise<{ host: Host; prewarmed: false }> {
    const host = this.#options.spawn(workers, terms);
    await host.ready;
    return { host, prewarmed: false };
  }

  /** Ends the waiting hosts. */
  async close(): Promise<void> {
    this.#closed = true;
    const spares = [...this.#spares];
    for (const host of spares) host.kill();
    await Promise.all(spares.map((host) => host.exited));
  }

  #refill(): void {
    while (!this.#closed && !this.#pausing && this.#spares.size < this.#options.size) {
      let host: Host;
      try {
        host = this.#options.spawn();
      } catch (error) {
        return this.#failed(error);
      }
      this.#watch(host);
      // While they fail, one is enough to find out.
      if (this.#failures > 0) return;
    }
  }

  #watch(host: Host): void {
    this.#spares.add(host);
    let problem: unknown = new Error("it ended while it waited for a lease");
    host.ready.then(
      () => this.#started(host),
      (error: unknown) => (problem = error),
    );
    void host.exited.then(async () => {
      await isReady(host);
      const waitingSinceMs = this.#ready.get(host);
      this.#ready.delete(host);
      if (!this.#spares.delete(host)) return;
      if (waitingSinceMs !== undefined && this.#clock.nowMs() - waitingSinceMs >= STABLE_MS)
        this.#failures = 0;
      this.#failed(problem);
    });
  }

  #started(host: Host): void {
    if (!this.#spares.has(host)) return;
    this.#ready.set(host, this.#clock.nowMs());
    if (this.#failures === 0) return;
    this.#options.log("info", "hosts start again, and wait for leases");
    // The host has not been up for long enough to count as started.
    this.#later(() => {
      if (!this.#ready.has(host)) return;
      this.#failures = 0;
      this.#refill();
    }, STABLE_MS);
  }

  /** Meanwhile, each lease starts a host of its own. */
  #failed(error: unknown): void {
    if (this.#closed || this.#pausing) return;
    const delayMs = Math.min(MAX_RETRY_MS, MIN_RETRY_MS * 2 ** this.#failures++);
    this.#options.log(
      "warn",
      `a host that was to wait for a lease did not (${shortage(error, "the node") ?? (error as Error).message}); the next one is started in ${delayMs / 1000} s, and leases wait for hosts of their own`,
    );
    this.#pausing = true;
    this.#later(() => {
      this.#pausing = false;
      this.#refill();
    }, delayMs);
  }

  /** A pause must not keep an ending node alive. */
  #later(callback: () => void, delayMs: number): void {
    this.#clock.after(delayMs, callback).unref();
  }
}

const isReady = (host: PooledHost): Promise<boolean> =>
  host.ready.then(
    () => true,
    () => false,
  );
