/** The error of a request for which a cluster had no room: what there was, and where. */
import { LeaseRefused, type RfaasError } from "../../base/errors.ts";
import { countOf, formatBytes } from "../../base/units.ts";
import type { Placement } from "../../lease/placement.ts";
import type { ClusterNode } from "./node.ts";

const SHOWN_NODES = 8;

/** `waitedMs` is how long it has waited, undefined when it did not; `losses` how many leases it had and lost meanwhile. */
export function clusterFull(
  cluster: { nodes: ReadonlyMap<string, ClusterNode>; placement: Placement },
  asked: {
    workers: number;
    coresPerWorker: number;
    memoryBytes: number;
    losses: number;
    waitedMs: number | undefined;
  },
): RfaasError {
  const all = [...cluster.nodes.values()];
  const { workers, coresPerWorker, memoryBytes, losses, waitedMs } = asked;
  const free = cluster.placement.freeCores();
  const shown = all.slice(0, SHOWN_NODES).map(({ name, info, problem }) => {
    if (problem || info.state !== "up")
      return `${name} ${problem ? "cannot be used" : `is ${info.state}`}`;
    return `${name} has ${info.freeCores === undefined ? "? cores" : countOf(info.freeCores, "core")} and ${formatBytes(info.freeMemoryBytes ?? 0)}`;
  });
  const rest =
    all.length > SHOWN_NODES ? ` and ${countOf(all.length - SHOWN_NODES, "more node")}` : "";
  const waited = waitedMs === undefined ? "" : ` within ${waitedMs} ms`;
  const lost =
    losses === 0
      ? ""
      : `; ${countOf(losses, "lease")} that it had ${losses === 1 ? "was" : "were"} lost while it waited for the others: renew them, or choose a longer ttlMs`;
  const unusable = all.find((node) => node.problem);
  const problem = unusable?.problem;
  const why = problem ? `; ${unusable!.name}: ${problem.message}` : "";
  return new LeaseRefused(
    "RFAAS_CLUSTER_FULL",
    `the cluster had no room${waited} for ${countOf(workers, "worker")}${coresPerWorker === 1 ? "" : ` of ${coresPerWorker} cores`} in leases of ${formatBytes(memoryBytes)}: ${free === 1 ? "1 core is" : `${free} cores are`} free (${shown.join(", ") || "no node is known"}${rest})${why}${lost}; ask for less, wait longer with timeoutMs, or add nodes`,
    problem ? { cause: problem } : {},
  );
}
