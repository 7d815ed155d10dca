/** What users may hold in the cluster: the manager's table, which survives its kills and changes while they go on, and tokens. */
import type { Limits } from "../../../src/lease/quota.ts";
import type { Random } from "../random.ts";

/** As the manager has it from its state directory, at each start anew. */
export interface LimitsTable {
  all(): ReadonlyMap<string, Limits>;
  onChange(listener: () => void): void;
}

export class Operator {
  readonly #limits = new Map<string, Limits>();
  #listener: () => void = () => {};
  /** Whether the manager counts for the cluster; else each node goes by tokens, for itself. */
  readonly counts: boolean;
  /** For how long the manager counts what a node holds that is away. */
  readonly graceMs: number;

  constructor(random: Random) {
    this.counts = random.chance(0.6);
    this.graceMs = random.between(3_000, 10_000);
  }

  limitsOf(user: string): Limits {
    return this.#limits.get(user) ?? {};
  }

  /** For a manager that starts; the one before it is dead. */
  tableOf(): LimitsTable {
    this.#listener = () => {};
    return {
      all: () => this.#limits,
      onChange: (listener) => {
        this.#listener = listener;
      },
    };
  }

  /** Without limits the user is not in the table any more. */
  set(user: string, limits: Limits | undefined): void {
    if (limits) this.#limits.set(user, limits);
    else this.#limits.delete(user);
    this.#listener();
  }

  clear(): void {
    this.#limits.clear();
    this.#listener();
  }
}

/** Limits as an operator may set them, or a token may have: some are low. */
export function someLimits(random: Random): Limits {
  const limits: Limits = {};
  if (random.chance(0.6)) limits.maxCores = random.between(0, 40);
  if (random.chance(0.3)) limits.maxMemoryBytes = random.between(0, 1000);
  if (random.chance(0.3)) limits.maxLeases = random.between(0, 8);
  return limits;
}

/** Core-hours that last for seconds. */
export function fewCoreHours(random: Random): Limits {
  return { coreHours: { hours: random.between(1, 100) / 3600, period: "month" } };
}
