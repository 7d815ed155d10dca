/** Wrong turns where users' quotas are counted: at the manager for the cluster, and at each node while the manager is away. */
import { type OverLimit, isLimited } from "../../../src/lease/quota.ts";
import { ClusterQuota, type QuotaManager } from "../../../src/executor/admission/cluster-quota.ts";
import type { QuotaWord } from "../../../src/protocol/manager-messages.ts";
import type { QuotaDesk } from "../../../src/manager/peers/quota-desk.ts";
import type { ClusterQuotas } from "../../../src/manager/quotas/cluster-quotas.ts";

/** Takes the silence of the manager for a yes. */
class SilenceIsYes extends ClusterQuota {
  override async reserve(...args: Parameters<ClusterQuota["reserve"]>): Promise<OverLimit | null> {
    const over = await super.reserve(...args);
    return over?.why.includes("while its manager is away") ? null : over;
  }
}

/** Does not say to a manager that comes back what it holds. */
class HoldingsUntold extends ClusterQuota {
  override counts(manager: QuotaManager | undefined): void {
    super.counts(manager && { ...manager, holdings: () => {} });
  }
}

/** Does not say what it has given by itself, as the manager was slow. */
class SilentGrant extends ClusterQuota {
  override counts(manager: QuotaManager | undefined): void {
    if (!manager) return super.counts(undefined);
    const asked = new Set<number>();
    super.counts({
      ...manager,
      reserve(held, limits) {
        asked.add(held.lease);
        return manager.reserve(held, limits);
      },
      holds: (held) => (asked.has(held.lease) ? undefined : manager.holds(held)),
    });
  }
}

/** Does not tell the manager when a lease is over. */
class EndUntold extends ClusterQuota {
  override counts(manager: QuotaManager | undefined): void {
    super.counts(manager && { ...manager, unreserve: () => {} });
  }
}

/** Keeps to the first word of the manager on each user. */
class FirstWord extends ClusterQuota {
  readonly #known = new Set<string>();

  override word(word: QuotaWord): void {
    const users = word.users.filter(({ user }) => !this.#known.has(user));
    for (const { user } of users) this.#known.add(user);
    super.word({ ...word, first: false, users });
  }
}

/** Does not hear that core-hours are used up. */
class SpendsOn extends ClusterQuota {
  override onSpent(): void {}
}

export const QUOTAS = {
  "end-untold": EndUntold,
  "first-word": FirstWord,
  "holdings-untold": HoldingsUntold,
  "silence-is-yes": SilenceIsYes,
  "silent-grant": SilentGrant,
  "spends-on": SpendsOn,
};

/** Planted in the count of a manager that has just started. */
export const DESKS = {
  /** Does not tell nodes of users who have no limit any more. */
  "limits-stay": ({ quotas }: QuotaDesk): void => {
    const takeChanged = quotas.takeChanged.bind(quotas);
    quotas.takeChanged = () => takeChanged().filter((user) => isLimited(quotas.limitsOf(user)));
  },
  /** Goes by its table alone. */
  "tokens-unread": ({ quotas }: QuotaDesk): void => {
    const reserve = quotas.reserve.bind(quotas);
    quotas.reserve = (instance, held, _, wallMs) => reserve(instance, held, {}, wallMs);
  },
  /** Lets each node give all that is free while the manager is away. */
  "free-to-each": ({ quotas }: QuotaDesk): void => {
    quotas.wordFor = alone(quotas);
  },
};

/** What is said to a node, as if it were the only one. */
function alone(quotas: ClusterQuotas): ClusterQuotas["wordFor"] {
  const wordFor = quotas.wordFor.bind(quotas);
  const placeOf = quotas.placeOf.bind(quotas);
  return (...args) => {
    quotas.placeOf = () => ({ nodes: 1, rank: 0 });
    try {
      return wordFor(...args);
    } finally {
      quotas.placeOf = placeOf;
    }
  };
}
