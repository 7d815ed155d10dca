/**
 * Whose turn it is among users who wait for room on a node: of those, the one who has had the least of it for its weight. What counts is
 * the time for which a user has cores while a request waits; what it had of an idle node is no debt. Pure: the time comes with each
 * question, in nanoseconds of any clock.
 */

/** Cores that a user has, from when on it has them. */
export interface Use {
  readonly user: string;
  readonly cores: number;
  /** It was only offered them, and may need others before it takes them: until then they count as little. */
  readonly offered: boolean;
  /** By the clock that goes while a request waits. */
  readonly fromNs: number;
}

interface Account {
  weight: number;
  /** Core-nanoseconds for its weight, of uses that are over. */
  hadNs: number;
  readonly uses: Set<Use>;
  waiting: number;
}

/** What a use counts for while it lasts, at least, so that cores which come free together do not all go to one user. */
const LEAST_NS = 10e6;
/** A user's lead over others counts up to this: ten minutes of a core. */
const MOST_LEAD_NS = 600e9;

export class Shares {
  readonly #accounts = new Map<string, Account>();
  /** What the user had who was served last, for its weight: who comes anew is not behind. */
  #floorNs = 0;
  #waiting = 0;
  /** How long a request has waited, up to {@link #sinceNs}. */
  #contendedNs = 0;
  #sinceNs = 0;

  /** One more request of the user waits. Of its weights the last that is named counts. */
  wait(user: string, weight: number, nowNs: number): void {
    this.#tick(nowNs);
    this.#waiting++;
    const account = this.#account(user);
    account.weight = weight;
    if (account.waiting++ > 0) return;
    const had = this.had(user, nowNs);
    const within = Math.min(Math.max(had, this.#floorNs), this.#floorNs + MOST_LEAD_NS / weight);
    account.hadNs += within - had;
  }

  /** One request less of the user waits. */
  leave(user: string, nowNs: number): void {
    this.#tick(nowNs);
    this.#waiting--;
    this.#accounts.get(user)!.waiting--;
    this.#drop(user);
  }

  /** A user is served who has had so much. */
  serve(hadNs: number): void {
    this.#floorNs = Math.max(this.#floorNs, hadNs);
  }

  /** The user has cores from now on. */
  take(
    {
      user,
      weight,
      cores,
      offered = false,
    }: { user: string; weight: number; cores: number; offered?: boolean },
    nowNs: number,
  ): Use {
    this.#tick(nowNs);
    const use = { user, cores, offered, fromNs: this.#contendedNs };
    const account = this.#account(user);
    account.weight = weight;
    account.uses.add(use);
    return use;
  }

  /** The user has them no more. The second time it does nothing. */
  give(use: Use, nowNs: number): void {
    this.#tick(nowNs);
    const account = this.#accounts.get(use.user);
    if (!account?.uses.delete(use)) return;
    account.hadNs += ((this.#contendedNs - use.fromNs) * use.cores) / account.weight;
    this.#drop(use.user);
  }

  /** Core-nanoseconds that the user has had, for its weight. */
  had(user: string, nowNs: number): number {
    this.#tick(nowNs);
    const account = this.#accounts.get(user);
    if (!account) return this.#floorNs;
    let coreNs = 0;
    for (const { cores, offered, fromNs } of account.uses)
      coreNs += cores * (offered ? LEAST_NS : Math.max(LEAST_NS, this.#contendedNs - fromNs));
    return account.hadNs + coreNs / account.weight;
  }

  #tick(nowNs: number): void {
    if (this.#waiting > 0) this.#contendedNs += Math.max(0, nowNs - this.#sinceNs);
    this.#sinceNs = nowNs;
  }

  #account(user: string): Account {
    let account = this.#accounts.get(user);
    if (!account) {
      for (const known of this.#accounts.keys()) this.#drop(known);
      account = { weight: 1, hadNs: this.#floorNs, uses: new Set(), waiting: 0 };
      this.#accounts.set(user, account);
    } else if (isIdle(account)) account.hadNs = Math.max(account.hadNs, this.#floorNs);
    return account;
  }

  /** Who has nothing, waits for nothing and is not ahead of others is as good as new. */
  #drop(user: string): void {
    const account = this.#accounts.get(user)!;
    if (isIdle(account) && account.hadNs <= this.#floorNs) this.#accounts.delete(user);
  }
}

const isIdle = ({ waiting, uses }: Account): boolean => waiting === 0 && uses.size === 0;
