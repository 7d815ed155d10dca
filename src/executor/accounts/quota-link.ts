/** What a node says to its manager of what users hold. */
import type { Requests } from "../../control/requests.ts";
import { Reserve, type ToManager, inParts } from "../../protocol/manager-messages.ts";
import type { QuotaManager } from "../admission/cluster-quota.ts";

/** A manager that does not say within this time what a user may hold is away. */
const RESERVE_LIMIT_MS = 250;

/** Over a connection to a manager that counts. */
export function quotasBy(
  requests: Requests,
  connection: { send(message: ToManager): void },
): QuotaManager {
  return {
    reserve: async (held, limits) => {
      const options = { timeoutMs: RESERVE_LIMIT_MS, holds: false };
      await requests.ask(Reserve, { ...held, limits }, options);
    },
    holds: (held) => connection.send({ t: "holdings", leases: [{ ...held }], first: false }),
    unreserve: (lease) => connection.send({ t: "unreserve", lease }),
    holdings: (leases) => {
      for (const [i, part] of inParts(leases).entries())
        connection.send({ t: "holdings", leases: [...part], first: i === 0 });
    },
  };
}
