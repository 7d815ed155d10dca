/** Looks at the host of a lease as long as the lease lives, and ends the lease when it has crossed a bound. */
import { killDescendants, placeThreads, restrictDescendants } from "../../../ffi/children.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import type { Excess } from "../../lease/lease.ts";
import { leaseCpus, workerCpus } from "../machine/cores.ts";
import { tasksFor } from "./bounds.ts";
import type { Held } from "./limiter.ts";

/** A process that has widened its own CPUs gets the lease's back so often. */
const RESTRICT_INTERVAL_MS = 250;
/** Threads of the host itself are looked at once in so many times: their room keeps them where they are. */
const LOOKS_PER_PLACING = 4;
/** They are placed first when the lease has most likely begun: it would wait for that. Workers have their places before. */
const FIRST_PLACING_MS = 25;

/** Where the threads of each host were put last. */
const placed = new WeakMap<object, string>();

/** What is watched of a lease. */
export interface WatchedLease {
  readonly host: { readonly pid: number; readonly held?: Held };
  readonly heapBytes: number;
  /** Where its children may run; a negative one is any. */
  readonly cpus: readonly number[];
  readonly coresPerWorker: number;
  end(reason: { kind: "over-limit" } & Excess): void;
}

export class LeaseWatch {
  readonly #lease: WatchedLease;
  readonly #held: Held;
  readonly #clock: Clock;
  readonly #restrict: Timer | undefined;
  readonly #placing: Timer | undefined;
  #next: Timer | undefined;

  /** Bounds the lease's host, whose registered memory has so many bytes, and looks at it from now on. Undefined where nothing holds it. */
  static of(lease: WatchedLease, registeredBytes: number, clock: Clock): LeaseWatch | undefined {
    const { held } = lease.host;
    if (!held) return undefined;
    const cores = lease.cpus.length;
    held.begin({ heapBytes: lease.heapBytes, registeredBytes, tasks: tasksFor(cores), cores });
    return new LeaseWatch(lease, held, clock);
  }

  private constructor(lease: WatchedLease, held: Held, clock: Clock) {
    this.#lease = lease;
    this.#held = held;
    this.#clock = clock;
    const cpus = lease.cpus.filter((cpu) => cpu >= 0);
    let looks = 0;
    if (cpus.length > 0) {
      this.#placing = clock.after(FIRST_PLACING_MS, () => this.#place());
      this.#restrict = clock.every(RESTRICT_INTERVAL_MS, () => {
        restrictDescendants(lease.host.pid, cpus);
        if (++looks % LOOKS_PER_PLACING === 0) this.#place();
      });
    }
    this.#placing?.unref();
    this.#restrict?.unref();
    this.#look();
  }

  /** The lease gets a host that another one has had: its threads go over to the lease's CPUs. */
  resume(): void {
    if (placed.get(this.#lease.host) !== String(this.#lease.cpus)) this.#place();
  }

  /** A room's threads do not move themselves. */
  #place(): void {
    const { host, cpus, coresPerWorker } = this.#lease;
    const masks = workerCpus(cpus, coresPerWorker);
    placeThreads(host.pid, leaseCpus(masks), masks);
    placed.set(host, String(cpus));
  }

  /** The lease is over. */
  stop(): void {
    this.#next?.clear();
    this.#placing?.clear();
    this.#restrict?.clear();
  }

  #look(): void {
    const { excess, pauseMs } = this.#held.look();
    if (!excess) {
      this.#next = this.#clock.after(pauseMs, () => this.#look());
      this.#next.unref();
      return;
    }
    this.stop();
    // In this order: a function that saw its children die would answer its caller.
    this.#lease.end({ kind: "over-limit", ...excess });
    // They would go on until the agent has become their parent.
    killDescendants(this.#lease.host.pid);
  }
}
