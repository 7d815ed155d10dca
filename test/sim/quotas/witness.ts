/**
 * What users hold in the whole cluster, seen from outside: a second account, kept from the leases that nodes have and from what the manager
 * was told of them. A lease counts from when its node has taken it to when its host is gone.
 */
import {
  type Holding,
  type Limits,
  NOTHING,
  crossed,
  plus,
  strictest,
} from "../../../src/lease/quota.ts";
import type { Message } from "../messages.ts";
import type { Schedule } from "../schedule.ts";
import { MS, violated } from "../world.ts";
import type { Operator } from "./operator.ts";

/** A lease that a node has. */
export interface LeaseSeen {
  user: string;
  instance: string;
  lease: number;
  cores: number;
  memoryBytes: number;
  /** What its client's token says. */
  claims: Limits;
  /** The run of the manager that counts it. */
  toldTo: number | undefined;
  /** The node lets its client have it. */
  granted: boolean;
}

/** One run of the manager, and what it was told. */
interface Run {
  number: number;
  /** Runs of nodes that are not connected to it any more, and since when. */
  away: Map<string, number>;
  /** What it has last said at once that nodes may give while it is away, by user. */
  said: { step: number; users: Map<string, { nodes: number; allowances: Limits[] }> };
}

const DIMENSIONS = ["maxCores", "maxMemoryBytes", "maxLeases"] as const;
const HELD = { maxCores: "cores", maxMemoryBytes: "memoryBytes", maxLeases: "leases" } as const;

export class QuotaWitness {
  readonly operator: Operator;
  /** Nothing fails: then no quota may be overshot, whether a node or the manager says yes. */
  strict = false;
  readonly #schedule: Schedule;
  readonly #leases = new Map<string, LeaseSeen>();
  readonly #byUser = new Map<string, Set<LeaseSeen>>();
  #run: Run = newRun(0);

  constructor(operator: Operator, schedule: Schedule) {
    this.operator = operator;
    this.#schedule = schedule;
  }

  /** A node has taken a lease, and asks whether its user may have it. */
  takes(lease: Omit<LeaseSeen, "toldTo" | "granted">): LeaseSeen {
    const seen: LeaseSeen = { ...lease, toldTo: undefined, granted: false };
    this.#leases.set(keyOf(lease), seen);
    this.#of(lease.user).add(seen);
    return seen;
  }

  /** The user may have it, says the node. */
  grants(lease: LeaseSeen): void {
    lease.granted = true;
    if (!this.strict) return;
    const over = this.#over(lease, (one) => one.granted);
    if (over) violated(`nothing fails, and ${over}`);
  }

  gives(lease: LeaseSeen): void {
    this.#leases.delete(keyOf(lease));
    this.#of(lease.user).delete(lease);
  }

  /** What a user holds, with what is asked for. */
  holdingOf(user: string): Holding {
    return this.#sum(user, () => true);
  }

  users(): Iterable<string> {
    return this.#byUser.keys();
  }

  // ---- at the manager's end of a connection ----

  /** A manager starts: it knows of no lease. */
  starts(): void {
    this.#run = newRun(this.#run.number + 1);
  }

  /** A node has come. */
  came(instance: string): void {
    const since = this.#run.away.get(instance);
    this.#run.away.delete(instance);
    if (since === undefined || !this.#isForgotten(since)) return;
    // It says all of them again.
    for (const lease of this.#leases.values())
      if (lease.instance === instance) lease.toldTo = undefined;
  }

  went(instance: string): void {
    this.#run.away.set(instance, this.#schedule.nowNs);
  }

  /** The manager has said that a lease may be held, or was told that it is. */
  counts(instance: string, lease: number, may: boolean): void {
    const seen = this.#leases.get(keyOf({ instance, lease }));
    if (!seen) return;
    const { number, away } = this.#run;
    seen.toldTo = number;
    if (!may) return;
    const over = this.#over(seen, (one) => {
      const since = away.get(one.instance);
      return one.toldTo === number && (since === undefined || !this.#isForgotten(since));
    });
    if (over) violated(`the manager counts, and ${over}`);
  }

  /** What the manager says to nodes at once must make no more than the quota, if they are all told. `held` is what it counts. */
  said({ nodes, users }: Message & { t: "quota" }, held: (user: string) => Holding): void {
    const run = this.#run;
    const step = this.#schedule.steps;
    if (run.said.step !== step) run.said = { step, users: new Map() };
    for (const { user, limits, allowance } of users) {
      const said = run.said.users.get(user) ?? { nodes, allowances: [] };
      run.said.users.set(user, said);
      said.allowances.push(allowance);
      if (said.nodes !== nodes || said.allowances.length !== nodes) continue;
      for (const name of DIMENSIONS) {
        const limit = limits[name];
        if (limit === undefined) continue;
        const sum = said.allowances.reduce((all, one) => all + (one[name] ?? Infinity), 0);
        if (sum > Math.max(limit, held(user)[HELD[name]]))
          violated(
            `nodes may give ${user} ${sum} of ${HELD[name]} while the manager is away, and its quota is ${limit}`,
          );
      }
    }
  }

  /** Throws unless the manager counts what is held. */
  check(count: (user: string) => Holding): void {
    for (const user of this.users()) {
      const [held, counted] = [this.holdingOf(user), count(user)];
      if (!Bun.deepEquals(held, counted))
        violated(
          `${user} holds ${JSON.stringify(held)}, and the manager counts ${JSON.stringify(counted)}`,
        );
    }
  }

  /** In words, by how much a user holds too much of those that count; undefined when it does not. */
  #over({ user, claims }: LeaseSeen, which: (lease: LeaseSeen) => boolean): string | undefined {
    const held = this.#sum(user, which);
    const limits = strictest(this.operator.limitsOf(user), claims);
    const over = crossed(limits, held, NOTHING);
    return over && `${user} holds ${over.held} of ${over.what} and may hold ${over.limit}`;
  }

  #sum(user: string, which: (lease: LeaseSeen) => boolean): Holding {
    let sum = NOTHING;
    for (const lease of this.#of(user))
      if (which(lease))
        sum = plus(sum, { cores: lease.cores, memoryBytes: lease.memoryBytes, leases: 1 });
    return sum;
  }

  #of(user: string): Set<LeaseSeen> {
    const leases = this.#byUser.get(user) ?? new Set();
    this.#byUser.set(user, leases);
    return leases;
  }

  /** Clocks differ a little. */
  #isForgotten(sinceNs: number): boolean {
    return this.#schedule.nowNs - sinceNs >= this.operator.graceMs * MS * 0.999;
  }
}

const newRun = (number: number): Run => ({
  number,
  away: new Map(),
  said: { step: -1, users: new Map() },
});

const keyOf = ({ instance, lease }: Pick<LeaseSeen, "instance" | "lease">): string =>
  `${instance}/${lease}`;
