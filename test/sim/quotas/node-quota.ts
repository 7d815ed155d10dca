/** Quotas at one run of a node: the real {@link ClusterQuota}, and what must be so of what it says by itself. */
import type {
  ClusterQuota,
  QuotaManager,
  Spent,
} from "../../../src/executor/admission/cluster-quota.ts";
import type { Identity } from "../../../src/executor/admission/identity.ts";
import {
  type Holding,
  type Limits,
  NOTHING,
  type OverLimit,
  type Place,
  crossed,
  isLimited,
  plus,
  shareOf,
  strictest,
} from "../../../src/lease/quota.ts";
import type { QuotaWord } from "../../../src/protocol/manager-messages.ts";
import type { UserWord } from "../../../src/protocol/tokens/limits.ts";
import { type Bug, newQuota } from "../bugs.ts";
import type { ActorClock } from "../clock.ts";
import type { Message } from "../messages.ts";
import { violated } from "../world.ts";
import type { LeaseSeen, QuotaWitness } from "./witness.ts";

/** On whose behalf a lease is asked for. */
export interface Whose {
  user: string;
  claims: Limits;
}
type Wanted = Pick<Holding, "cores" | "memoryBytes">;

export class NodeQuota {
  readonly #quota: ClusterQuota;
  /** It is there, and counts. */
  hasManager = false;
  readonly #instance: string;
  readonly #witness: QuotaWitness;
  readonly #leases = new Map<number, LeaseSeen>();
  // What the manager has said, as far as it has arrived.
  #place: Place | undefined;
  readonly #words = new Map<string, UserWord>();
  /** Which lease each question to the manager is about. */
  readonly #asked = new Map<number, number>();
  readonly #answered = new Map<number, "yes" | "no">();

  constructor(
    bug: Bug | undefined,
    instance: string,
    clock: ActorClock,
    witness: QuotaWitness,
    spent: Spent,
  ) {
    this.#instance = instance;
    this.#witness = witness;
    this.#quota = newQuota(bug, clock);
    this.#quota.onSpent(spent);
  }

  counts(manager: QuotaManager | undefined): void {
    this.hasManager = manager !== undefined;
    this.#quota.counts(manager);
  }

  word(word: QuotaWord): void {
    this.#quota.word(word);
  }

  /** Why the node gives no more, or null. */
  refusal(whose: Whose, wanted: Wanted): OverLimit | null {
    const why = this.#quota.refusal(identityOf(whose), wanted);
    if (why !== null) this.#refused(whose, { ...wanted, leases: 1 });
    return why;
  }

  take(lease: number, { user, claims }: Whose, wanted: Wanted): void {
    this.#quota.take(lease, user, wanted);
    const seen = { user, claims, lease, ...wanted, instance: this.#instance };
    this.#leases.set(lease, this.#witness.takes(seen));
  }

  /** Asks for one that was taken. Resolves to why it may not be held, or null. */
  async reserve(lease: number, whose: Whose): Promise<OverLimit | null> {
    const why = await this.#quota.reserve(lease, identityOf(whose));
    const seen = this.#leases.get(lease);
    const answer = this.#answered.get(lease);
    this.#answered.delete(lease);
    if (!seen) return why;
    if (why === null) {
      if (answer === "no") violated(`${this.#instance} grants what the manager refuses`);
      if (answer === undefined) this.#grantsItself(whose);
      this.#witness.grants(seen);
    } else if (answer === "yes") violated(`${this.#instance} refuses what the manager grants`);
    else if (answer === undefined) this.#refused(whose, NOTHING);
    return why;
  }

  giveBack(lease: number): void {
    this.#quota.giveBack(lease);
    const seen = this.#leases.get(lease);
    if (!seen) return;
    this.#leases.delete(lease);
    this.#witness.gives(seen);
  }

  /** The node is dead. */
  died(): void {
    for (const seen of this.#leases.values()) this.#witness.gives(seen);
    this.#leases.clear();
  }

  // ---- what goes to the manager and comes from it ----

  sent(message: Message): void {
    if (message.t === "reserve") this.#asked.set(message.id, message.lease);
  }

  arrives(message: Message): void {
    if (message.t === "quota") {
      const { nodes, rank, first, users } = message;
      this.#place = { nodes, rank };
      if (first) this.#words.clear();
      for (const word of users)
        if (isLimited(word.limits)) this.#words.set(word.user, word);
        else this.#words.delete(word.user);
    } else if (message.t === "reserve-reply" || message.t === "failed") {
      const lease = this.#asked.get(message.id);
      if (lease === undefined || !this.#leases.has(lease)) return;
      this.#asked.delete(message.id);
      this.#answered.set(lease, message.t === "failed" ? "no" : "yes");
    }
  }

  /** It was not asked for, or there was no answer: the node keeps to what it was told. */
  #grantsItself(whose: Whose): void {
    const limits = this.#mayGive(whose);
    const over = limits && crossed(limits, this.#heldBy(whose.user), NOTHING);
    if (over)
      violated(
        `${this.#instance} gives ${whose.user} ${over.held} of ${over.what} by itself, and may give ${over.limit}`,
      );
  }

  /** What may be given must be. */
  #refused(whose: Whose, wanted: Holding): void {
    const word = this.#words.get(whose.user);
    if (word?.leftCoreNs !== undefined) return;
    const limits = this.#mayGive(whose);
    if (!limits || !crossed(limits, this.#heldBy(whose.user), wanted))
      violated(`${this.#instance} refuses ${whose.user} by itself what it may give`);
  }

  /** What the node may give a user without a manager to ask; undefined where it has no limit. */
  #mayGive({ user, claims }: Whose): Limits | undefined {
    const { maxCores, maxMemoryBytes } = claims;
    // It has never had a manager that counts.
    if (!this.#place) return strictest({}, { maxCores, maxMemoryBytes } as Limits);
    const word = this.#words.get(user);
    if (!word && !isLimited(claims)) return undefined;
    const place = this.#place;
    const most = (name: "maxCores" | "maxMemoryBytes" | "maxLeases"): number => {
      const own = claims[name] ?? Infinity;
      const told = word?.allowance[name] ?? Infinity;
      // Where the manager has not seen the token, its share counts, too.
      return own < (word?.limits[name] ?? Infinity) ? Math.min(told, shareOf(own, place)) : told;
    };
    return {
      maxCores: most("maxCores"),
      maxMemoryBytes: most("maxMemoryBytes"),
      maxLeases: most("maxLeases"),
    };
  }

  #heldBy(user: string): Holding {
    let sum = NOTHING;
    for (const { user: whose, cores, memoryBytes } of this.#leases.values())
      if (whose === user) sum = plus(sum, { cores, memoryBytes, leases: 1 });
    return sum;
  }
}

function identityOf({ user, claims }: Whose): Identity {
  const { maxCores = null, maxMemoryBytes, maxLeases } = claims;
  return { user, maxCores, maxMemoryBytes, maxLeases, untilMs: null };
}
