/**
 * A lease's usage. The agent measures time itself: the cores held by its own clock, CPU time by the kernel's count. Calls, bytes and
 * the part of the CPU time that was polling are counted by the host. The agent cannot check them: nothing that the host says lowers what it
 * has measured, and what it says is bounded by that.
 */
import { LeasePage } from "../../../ffi/region.ts";
import { cpuTimeNs } from "../../../ffi/system.ts";
import { allocatedCoreNs } from "../../lease/book.ts";
import type { LeaseState } from "../../lease/lease.ts";
import { type Usage, possibleCounts } from "../../protocol/usage.ts";
import { Descendants } from "./descendants.ts";

const LOOK_INTERVAL_NS = 500e6;

export class Meter {
  readonly #page: Pick<LeasePage, "counts">;
  readonly #pid: number;
  readonly #workers: number;
  readonly #cores: number;
  readonly #descendants: Descendants;
  #descendantsNs = 0;
  /** The CPU time of what the host had started for former leases. */
  readonly #formerNs: number;
  #lookedAtNs = -Infinity;
  /** The CPU time of the host, and of what it started for former leases, when it was given to the lease. */
  #cpuBeforeNs: number | undefined;
  #cpuNs = 0;
  #usage: Usage = { allocationCoreNs: 0, executionNs: 0, pollingNs: 0, calls: 0, bytes: 0 };
  #seenCalls = 0;

  /** `descendantsNs` is the CPU time of what the host has started for former leases. */
  constructor(
    page: Pick<LeasePage, "counts">,
    pid: number,
    workers: number,
    cores: number,
    descendantsNs: number,
  ) {
    this.#descendants = new Descendants(pid);
    this.#descendantsNs = descendantsNs;
    this.#formerNs = descendantsNs;
    this.#page = page;
    this.#pid = pid;
    this.#workers = workers;
    this.#cores = cores;
  }

  /** The host is about to load the module, or to go on with calls: from now on its CPU time counts. */
  begin(): void {
    const hostNs = cpuTimeNs(this.#pid);
    this.#cpuBeforeNs = hostNs === undefined ? undefined : hostNs + this.#descendantsNs;
  }

  /** The host goes on without the lease. Returns the CPU time of what it has started so far. */
  end(state: LeaseState, nowNs: number): number {
    this.#lookedAtNs = -Infinity;
    this.read(state, nowNs);
    return this.#descendantsNs;
  }

  /** Counters so far; they never fall. `cpuNs` is the host's whole CPU time, and that of what it started, once it has ended. */
  read(state: LeaseState, nowNs: number, cpuNs = this.#cpuTimeNs(nowNs)): Usage {
    if (this.#cpuBeforeNs !== undefined && cpuNs !== undefined)
      this.#cpuNs = Math.max(this.#cpuNs, cpuNs + this.#descendants.lostNs - this.#cpuBeforeNs);
    const { calls, bytes, polledNs } = this.#page.counts(this.#workers);
    const known = this.#usage;
    const possible = possibleCounts({ calls, bytes }, allocatedCoreNs(state, this.#workers, nowNs));
    const pollingNs = Math.max(known.pollingNs, Math.min(polledNs, this.#pollableNs(state, nowNs)));
    this.#usage = {
      allocationCoreNs: Math.round(allocatedCoreNs(state, this.#cores, nowNs)),
      executionNs: Math.max(known.executionNs, Math.round(this.#cpuNs - pollingNs)),
      pollingNs: Math.round(pollingNs),
      calls: Math.max(known.calls, possible.calls),
      bytes: Math.max(known.bytes, possible.bytes),
    };
    return this.#usage;
  }

  /** What can have been polling, whatever the host says: its own CPU time, and no more than a thread for each worker can have used. */
  #pollableNs(state: LeaseState, nowNs: number): number {
    const ownNs = this.#cpuNs - Math.max(0, this.#descendants.startedNs - this.#formerNs);
    return Math.max(0, Math.min(ownNs, allocatedCoreNs(state, this.#workers, nowNs)));
  }

  /** Reads the host's own CPU time each time, that of its child processes at intervals, as that takes longer. */
  #cpuTimeNs(nowNs: number): number | undefined {
    const hostNs = cpuTimeNs(this.#pid);
    if (nowNs - this.#lookedAtNs >= LOOK_INTERVAL_NS) {
      this.#lookedAtNs = nowNs;
      // It falls by what is lost, and by nothing else.
      this.#descendantsNs = this.#descendants.readNs() ?? this.#descendantsNs;
    }
    return hostNs === undefined ? undefined : hostNs + this.#descendantsNs;
  }

  /** Whether a call was answered since the last look, or runs now. */
  wasUsed(): boolean {
    const { calls, running } = this.#page.counts(this.#workers);
    const used = calls !== this.#seenCalls || running > 0;
    this.#seenCalls = calls;
    return used;
  }
}

/** Whether a counter has reached its bound. */
export function isSpent(usage: Usage, budget: Partial<Usage>): boolean {
  return Object.entries(budget).some(([name, bound]) => usage[name as keyof Usage] >= bound);
}
