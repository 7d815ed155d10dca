/** Hosts that wait for a lease. One is taken per lease and never reused: tenants do not share a process. */
import { HostProcess } from "./host-process.ts";

/** A new spare is started this long after one was taken, so that its start does not disturb the lease's first calls. */
const REFILL_DELAY_MS = 25;
/** Hosts that fail to start are not replaced at once for ever. */
const MAX_FAILURES_IN_A_ROW = 3;

export class HostPool {
  readonly #size: number;
  readonly #workersPerHost: number;
  readonly #verbs: boolean;
  readonly #spares = new Set<HostProcess>();
  readonly #ready = new Set<HostProcess>();
  #failures = 0;
  #closed = false;

  /** Keeps `size` hosts waiting, each with `workersPerHost` threads and, if asked, the RDMA libraries. */
  constructor(size: number, workersPerHost: number, verbs: boolean) {
    this.#size = size;
    this.#workersPerHost = workersPerHost;
    this.#verbs = verbs;
    this.#refill();
  }

  /** How many hosts could take a lease at once. */
  get readyCount(): number {
    return this.#ready.size;
  }

  /** A host for one lease: a waiting one, else one that is starting, else a new one. Rejects when it cannot start. */
  async take(): Promise<{ host: HostProcess; prewarmed: boolean }> {
    const host = [...this.#ready][0] ?? [...this.#spares][0] ?? this.#spawn();
    const prewarmed = this.#ready.delete(host);
    this.#spares.delete(host);
    setTimeout(() => this.#refill(), REFILL_DELAY_MS);
    await host.ready;
    return { host, prewarmed };
  }

  /** Ends the waiting hosts. */
  async close(): Promise<void> {
    this.#closed = true;
    const spares = [...this.#spares];
    for (const host of spares) host.kill();
    await Promise.all(spares.map((host) => host.exited));
  }

  #spawn(): HostProcess {
    return HostProcess.spawn(this.#workersPerHost, this.#verbs);
  }

  #refill(): void {
    while (
      !this.#closed &&
      this.#spares.size < this.#size &&
      this.#failures < MAX_FAILURES_IN_A_ROW
    ) {
      let host: HostProcess;
      try {
        host = this.#spawn();
      } catch {
        // No descriptors or processes left: the next lease tries again, and says so.
        this.#failures++;
        return;
      }
      this.#spares.add(host);
      host.ready.then(
        () => {
          this.#failures = 0;
          if (this.#spares.has(host)) this.#ready.add(host);
        },
        () => {
          this.#failures++;
        },
      );
      void host.exited.then(() => {
        this.#ready.delete(host);
        if (this.#spares.delete(host)) this.#refill();
      });
    }
  }
}
