/** Many leases asked for at once, each of which is called once and released. */
import type { NodeInvoker } from "../../src/client/node-invoker.ts";
import { type Echo, KEEP_WARM_MS, firstResult, ownFaults } from "./first-result.ts";
import { type Summary, summarize } from "../statistics.ts";

/** How long a lease may wait for its turn. */
const TURN_LIMIT_MS = 300_000;

export interface AtOnce {
  leases: number;
  failed: number;
  client_minor_faults: number;
  /** From the requests to the last result. */
  last_ns: number;
  /** From the requests to each result. */
  results: Summary;
  /** Why the first of those that failed did so. */
  why: string | undefined;
}

export async function leasesAtOnce(rf: NodeInvoker, leases: number): Promise<AtOnce> {
  const faultsBefore = ownFaults();
  const startedNs = Bun.nanoseconds();
  const one = async (): Promise<number> => {
    const lease = await rf.allocate<Echo>("rfaas:echo", {
      ...{ polling: "hot", memory: 4096, keepWarmMs: KEEP_WARM_MS },
      ...{ wait: true, timeoutMs: TURN_LIMIT_MS },
    });
    firstResult(lease);
    const ns = Bun.nanoseconds() - startedNs;
    await lease.release();
    return ns;
  };
  const ends = await Promise.allSettled(Array.from({ length: leases }, one));
  const times = ends.flatMap((end) => (end.status === "fulfilled" ? end.value : []));
  const failure = ends.find((end) => end.status === "rejected");
  if (times.length === 0) throw failure!.reason;
  return {
    leases,
    failed: leases - times.length,
    client_minor_faults: ownFaults() - faultsBefore,
    last_ns: Math.max(...times),
    results: summarize(Float64Array.from(times)),
    why: failure && (failure.reason as Error).message,
  };
}
