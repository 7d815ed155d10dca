/** Wrong turns of a node's leases: their states, the capacity that they take, and the timers that end them. */
import { LeaseTimers } from "../../../src/executor/agent/lease-timers.ts";
import { type Due, LeaseBook } from "../../../src/lease/book.ts";
import { Capacity, type Share } from "../../../src/lease/capacity.ts";
import type { LeaseEffect, LeaseEvent, LeaseState } from "../../../src/lease/lease.ts";

type Requested = Parameters<LeaseBook["request"]>;

/** Gives the share of a lease back twice. */
class DoubleCredit extends Capacity {
  override give(share: Share): void {
    super.give(share);
    super.give(share);
  }
}

/** Gives back the cores of a lease, and not its memory. */
class MemoryLost extends Capacity {
  override give({ cpus }: Share): void {
    super.give({ cpus, memoryBytes: 0 });
  }
}

/** Waits for ever for a module to load. */
class NoLoadLimit extends LeaseBook {
  override request(...[wanted, atNs]: Requested): ReturnType<LeaseBook["request"]> {
    return super.request({ ...wanted, loadLimitNs: Number.MAX_SAFE_INTEGER }, atNs);
  }
}

/** Never ends a lease whose time is over. */
class NoExpiry extends LeaseBook {
  override passTime(): Due[] {
    return [];
  }

  override nextDueNs(): number {
    return Infinity;
  }
}

/** Takes a lease for used as soon as it can be. */
class NoRedeemLimit extends LeaseBook {
  override advance(lease: number, event: LeaseEvent): LeaseEffect[] {
    const effects = super.advance(lease, event);
    if (event.kind === "loaded") super.advance(lease, { ...event, kind: "redeemed" });
    return effects;
  }
}

/** Says that it takes a lease back, and does not. */
class NoDeadline extends LeaseBook {
  override advance(lease: number, event: LeaseEvent): LeaseEffect[] {
    if (event.kind !== "revoked") return super.advance(lease, event);
    return super.advance(lease, { ...event, deadlineNs: Number.MAX_SAFE_INTEGER });
  }
}

/** Drains, and leaves alone the leases that it has. */
class DrainSparesLeases extends LeaseBook {
  override drain(): Due[] {
    this.draining = true;
    return [];
  }
}

/** Grants leases though it drains. */
class DrainGrants extends LeaseBook {
  override request(...args: Requested): ReturnType<LeaseBook["request"]> {
    const { draining } = this;
    this.draining = false;
    try {
      return super.request(...args);
    } finally {
      this.draining = draining;
    }
  }
}

/** The node drains for ever. */
class NeverResumes extends LeaseBook {
  override resume(): void {}
}

/** Frees the cores when a lease ends, and not when its host is gone. */
class EarlyCredit extends LeaseBook {
  readonly #ended = new Map<number, LeaseState>();

  override advance(lease: number, event: LeaseEvent): LeaseEffect[] {
    const effects = super.advance(lease, event);
    if (!effects.includes("return-capacity")) return effects;
    this.#ended.set(lease, super.state(lease)!);
    super.free(lease);
    return effects;
  }

  override state(lease: number): LeaseState | undefined {
    return super.state(lease) ?? this.#ended.get(lease);
  }
}

/** Lets the host of a lease run on that was released. */
class HostOutlivesLease extends LeaseBook {
  override advance(lease: number, event: LeaseEvent): LeaseEffect[] {
    const effects = super.advance(lease, event);
    const released = event.kind === "ended" && event.reason.kind === "released";
    return released ? effects.filter((effect) => effect !== "stop-host") : effects;
  }
}

/** Looks at no lease any more once there was none. */
class TimersSleep extends LeaseTimers {
  #rested = false;

  override schedule(): void {
    if (!this.#rested) super.schedule();
  }

  override rest(): void {
    super.rest();
    this.#rested = true;
  }
}

/** Goes on to look at meters when there is nothing to read. */
class MetersGoOn extends LeaseTimers {
  override rest(): void {}
}

export const CAPACITIES = { "double-credit": DoubleCredit, "memory-lost": MemoryLost };
export const BOOKS = {
  "drain-grants": DrainGrants,
  "drain-spares-leases": DrainSparesLeases,
  "early-credit": EarlyCredit,
  "host-outlives-lease": HostOutlivesLease,
  "never-resumes": NeverResumes,
  "no-deadline": NoDeadline,
  "no-expiry": NoExpiry,
  "no-load-limit": NoLoadLimit,
  "no-redeem-limit": NoRedeemLimit,
};
export const TIMERS = { "meters-go-on": MetersGoOn, "timers-sleep": TimersSleep };
