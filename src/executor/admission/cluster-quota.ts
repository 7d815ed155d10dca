/**
 * The quotas of users, as a node keeps them: without a manager by itself; with one by asking it, while it answers; and while it is away by
 * what it has said last, so that all nodes together let no user hold more than its quota (`lease/quota.ts`).
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { countOf, formatBytes } from "../../base/units.ts";
import { RequestRefused } from "../../control/requests.ts";
import {
  type Crossed,
  type Holding,
  type Limits,
  NOTHING,
  type OverLimit,
  type Place,
  SPENT_GRACE_MS,
  allowanceOf,
  crossed,
  isLimited,
  lastsMs,
  minus,
  plus,
  reached,
  stricterThan,
  strictest,
} from "../../lease/quota.ts";
import type { UserWord } from "../../protocol/tokens/limits.ts";
import type { QuotaWord } from "../../protocol/manager-messages.ts";
import type { Identity } from "./identity.ts";
import { type Held, Quota } from "./quota.ts";

/** A lease that is held, as the manager hears of it. */
export interface HeldLease extends Held {
  lease: number;
  user: string;
}

/** The manager that counts for the cluster, while it is there. */
export interface QuotaManager {
  /** Rejects with {@link RequestRefused} of the code RFAAS_TOKEN_LIMIT where that may not be held, with another error when it does not answer. */
  reserve(held: HeldLease, limits: Limits): Promise<void>;
  /** One without a limit. */
  holds(held: HeldLease): void;
  unreserve(lease: number): void;
  /** All that the node holds. */
  holdings(leases: readonly HeldLease[]): void;
}

/** What a user's leases are to be ended for. */
export type Spent = (user: string, inMs: number) => void;

const TICK_MS = 1_000;

export class ClusterQuota {
  /** By which a node without a manager goes. */
  readonly #own = new Quota();
  readonly #clock: Clock;
  readonly #leases = new Map<number, HeldLease>();
  readonly #held = new Map<string, Holding>();
  readonly #words = new Map<string, UserWord>();
  #place: Place | undefined;
  #spentUntilNs: number | undefined;
  #manager: QuotaManager | undefined;
  #onSpent: Spent = () => {};
  #ticks: Timer | undefined;
  /** Core-nanoseconds of each user since the manager's last word. */
  readonly #since = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Hears of users whose core-hours are used up in so long. */
  onSpent(spent: Spent): void {
    this.#onSpent = spent;
  }

  /** The manager counts from now on; undefined when it is away. */
  counts(manager: QuotaManager | undefined): void {
    this.#manager = manager;
    manager?.holdings([...this.#leases.values()]);
  }

  /** What the manager says of users, and of this node's place. */
  word({ nodes, rank, first, users }: QuotaWord): void {
    this.#place = { nodes, rank };
    this.#spend();
    if (first) this.#words.clear();
    for (const word of users) {
      // One who has no limit any more.
      if (isLimited(word.limits)) this.#words.set(word.user, { ...word });
      else this.#words.delete(word.user);
      this.#since.delete(word.user);
      if (word.spentInMs !== undefined && this.#held.has(word.user))
        this.#onSpent(word.user, word.spentInMs);
    }
    this.#keepTime();
  }

  /** Why so much more is not for this user, or null; {@link reserve} asks the manager besides. */
  refusal(identity: Identity, wanted: Held): OverLimit | null {
    const word = this.#words.get(identity.user);
    if (word?.spentInMs === 0) {
      const why = word.why ?? `${identity.user} has no core-hours left`;
      // While the manager is away it is this node's share that is used up.
      return { why, limit: { passes: false, shared: this.#manager !== undefined } };
    }
    return this.#manager && this.#place ? null : this.#awayRefusal(identity, wanted);
  }

  /** Asks the manager for a lease that is taken, where its user has a limit. Resolves to why it may not be held, or null. */
  async reserve(lease: number, identity: Identity): Promise<OverLimit | null> {
    const held = this.#leases.get(lease);
    const manager = this.#manager;
    if (!held || !manager) return null;
    if (!this.#isLimited(identity)) {
      // Should the user have a limit later, it counts.
      manager.holds(held);
      return null;
    }
    try {
      await manager.reserve(held, limitsOf(identity));
      return null;
    } catch (error) {
      if (error instanceof RequestRefused && error.code === "RFAAS_TOKEN_LIMIT")
        return { why: error.message, limit: error.limit };
      // It has gone, or hangs. What is asked for is among what is held.
      const over = this.#awayRefusal(identity, held, true);
      // One that is slow may yet say no, to what is held now.
      if (!over && this.#leases.get(lease) === held) this.#manager?.holds(held);
      return over;
    }
  }

  take(lease: number, user: string, held: Held): void {
    this.#own.take(user, held);
    this.#leases.set(lease, { ...held, lease, user });
    this.#spend();
    this.#held.set(user, plus(this.#heldBy(user), { ...held, leases: 1 }));
    this.#keepTime();
  }

  giveBack(lease: number): void {
    const held = this.#leases.get(lease);
    if (!held) return;
    const { user } = held;
    this.#own.giveBack(user, held);
    this.#leases.delete(lease);
    this.#spend();
    const left = minus(this.#heldBy(user), { ...held, leases: 1 });
    if (left.leases > 0) this.#held.set(user, left);
    else this.#held.delete(user);
    this.#manager?.unreserve(lease);
  }

  #isLimited(identity: Identity): boolean {
    return isLimited(limitsOf(identity)) || this.#words.has(identity.user);
  }

  /** Each node keeps to what the manager has last said that it may let the user hold; of what the token says besides, to its share. */
  #awayRefusal(identity: Identity, lease: Held, isHeld = false): OverLimit | null {
    const { user } = identity;
    const { cores, memoryBytes } = lease;
    // It has never heard what it may give.
    if (!this.#place)
      return this.#own.refusal(identity, isHeld ? { cores: 0, memoryBytes: 0 } : lease);
    const wanted = { cores, memoryBytes, leases: 1 };
    const { limits: known = {}, allowance: told = {} } = this.#words.get(user) ?? {};
    const claims = limitsOf(identity);
    const limits = strictest(known, claims);
    const none = { here: NOTHING, everywhere: NOTHING };
    const own = allowanceOf(stricterThan(known, claims), none, this.#place);
    const more = isHeld ? NOTHING : wanted;
    const over = crossed(strictest(told, own), this.#heldBy(user), more);
    if (!over) return null;
    const limit = reached(limits, wanted, false);
    // More than the whole is given by no node, and when the manager is back neither.
    return { why: describeAway(user, over, limits), limit: { ...limit, shared: !limit.passes } };
  }

  #heldBy(user: string): Holding {
    return this.#held.get(user) ?? NOTHING;
  }

  /** Counts what users spend, while there is one with core-hours. */
  #keepTime(): void {
    const needed = [...this.#words.values()].some(({ leftCoreNs }) => leftCoreNs !== undefined);
    if (needed && this.#held.size > 0) {
      this.#ticks ??= this.#clock.every(TICK_MS, () => this.#tick());
      this.#ticks.unref();
    }
  }

  #spend(): void {
    const nowNs = this.#clock.nowNs();
    const passedNs = nowNs - (this.#spentUntilNs ?? nowNs);
    this.#spentUntilNs = nowNs;
    for (const [user, { cores }] of this.#held)
      this.#since.set(user, (this.#since.get(user) ?? 0) + cores * passedNs);
  }

  #tick(): void {
    this.#spend();
    if (this.#held.size === 0) {
      this.#ticks?.clear();
      this.#ticks = undefined;
      return;
    }
    if (this.#manager) return;
    for (const [user, { cores }] of this.#held) {
      const word = this.#words.get(user);
      if (word?.leftCoreNs === undefined) continue;
      const inMs = lastsMs(word.leftCoreNs - (this.#since.get(user) ?? 0), cores);
      if (inMs > SPENT_GRACE_MS) continue;
      word.spentInMs = inMs;
      word.why ??= `${user} has used up what this node may give of its core-hours while the manager is away; wait until it is back`;
      this.#onSpent(user, inMs);
    }
  }
}

function limitsOf({ maxCores, maxMemoryBytes, maxLeases, coreHours }: Identity): Limits {
  return {
    ...(maxCores === null ? {} : { maxCores }),
    ...(maxMemoryBytes === undefined ? {} : { maxMemoryBytes }),
    ...(maxLeases === undefined ? {} : { maxLeases }),
    ...(coreHours === undefined ? {} : { coreHours }),
  };
}

function describeAway(
  user: string,
  { what, limit, held, wanted }: Crossed,
  limits: Limits,
): string {
  const amount = (value: number): string =>
    what === "memoryBytes"
      ? formatBytes(value)
      : countOf(value, what === "cores" ? "core" : "lease");
  const whole = {
    cores: limits.maxCores,
    memoryBytes: limits.maxMemoryBytes,
    leases: limits.maxLeases,
  }[what];
  const asked =
    wanted === 0 ? "" : `, and ${amount(wanted)} ${wanted === 1 ? "is" : "are"} asked for`;
  return `${user} may hold ${whole === undefined ? "so much" : amount(whole)} at a time in this cluster, and while its manager is away ${amount(limit)} of that on this node: ${amount(held)} ${held === 1 ? "is" : "are"} held here${asked}; release some, take another node, or wait until the manager is back`;
}
