/** Which leases of the node a client is shown, and what of them. */
import type { LeaseState } from "../../lease/lease.ts";
import { type ListedLease, MAX_LISTED, MAX_LISTED_NAME } from "../../protocol/messages.ts";
import type { LeasedHost } from "./leased-host.ts";
import type { Client } from "./reception.ts";

const PHASES = {
  granted: "loading",
  active: "active",
  revoking: "revoking",
  ended: "ending",
} as const satisfies Record<LeaseState["phase"], ListedLease["phase"]>;

/** The node's own user sees every lease, another user those of that user. */
export function listLeases(
  leases: Iterable<{ lease: LeasedHost; client: Client }>,
  asking: Client,
  stateOf: (lease: number) => LeaseState | undefined,
): ListedLease[] {
  const shown: ListedLease[] = [];
  for (const { lease, client } of leases) {
    const state = stateOf(lease.id);
    const { user } = client.identity;
    if (!state || (!asking.trusted && user !== asking.identity.user)) continue;
    if (shown.length === MAX_LISTED) break;
    shown.push({
      lease: lease.id,
      user,
      module: lease.moduleName.slice(0, MAX_LISTED_NAME),
      workers: lease.shape.workers,
      coresPerWorker: lease.coresPerWorker,
      memoryBytes: lease.request.memoryBytes,
      fabric: lease.request.fabric,
      phase: PHASES[state.phase],
      startedAtMs: lease.startedAtMs,
      usage: lease.usage(),
    });
  }
  return shown;
}
