/** What nodes have refused a request for, and what follows: where it may be asked again, and the error with which it ends. */
import { ConnectionFailed, LeaseLost, LeaseRefused, type RfaasError } from "../../base/errors.ts";
import { countOf, formatBytes } from "../../base/units.ts";
import type { KnownNodes } from "./known-nodes.ts";
import { isOfNode } from "./voucher.ts";
import { atLimit } from "../failures/at-limit.ts";

const SHOWN_NODES = 8;
/** The request fails when this many leases have failed to open: then the module or the network is at fault. */
const MAX_MISHAPS = 3;

type Cluster = Pick<KnownNodes, "nodes" | "placement" | "ownLimit">;

interface Asked {
  workers: number;
  coresPerWorker: number;
  memoryBytes: number;
}

/** Whose fault it is: the node's, the request's, or that of a limit of the user, on the node or in the whole cluster. */
type Fault = "node" | "request" | "limit" | "cluster";

export class Refusals {
  readonly #cluster: Cluster;
  readonly #asked: Asked;
  /** By node, where the last that it has said is that the user holds too much there. */
  readonly #limited = new Map<string, LeaseRefused>();
  #mishaps = 0;
  #fatal: unknown;
  #saidLimit = false;

  constructor(cluster: Cluster, workers: number, coresPerWorker: number, memoryBytes: number) {
    this.#cluster = cluster;
    this.#asked = { workers, coresPerWorker, memoryBytes };
  }

  /** Nodes on which the user holds too much. */
  get limited(): readonly string[] {
    return [...this.#limited.keys()];
  }

  /** Whether a node has said so of the whole cluster. */
  get saidLimit(): boolean {
    return this.#saidLimit;
  }

  /** Throws what no other node and no wait can help with. */
  throwFatal(): void {
    if (this.#fatal !== undefined) throw this.#fatal;
  }

  granted(node: string): void {
    this.#limited.delete(node);
  }

  /** Another node may do better, unless the fault is the request's own. */
  heard(error: unknown, node: string): Fault {
    this.#limited.delete(node);
    if (error instanceof LeaseRefused) return this.#refused(error, node);
    if (isOfNode(error)) return "node";
    const mishap = error instanceof LeaseLost || error instanceof ConnectionFailed;
    if (!mishap || ++this.#mishaps >= MAX_MISHAPS) this.#fatal ??= error;
    return "request";
  }

  #refused(error: LeaseRefused, node: string): Fault {
    const { limit } = error;
    if (limit?.shared) {
      const { workers, coresPerWorker } = this.#asked;
      const never = neverWithin(error, workers * coresPerWorker);
      if (never) this.#fatal ??= never;
      else this.#cluster.ownLimit.reached(error);
      this.#saidLimit = true;
      return "cluster";
    }
    if (!limit?.passes) return "node";
    this.#limited.set(node, error);
    return "limit";
  }

  /** Why there was no room in the time that the request had; `losses` is how many leases it had and lost meanwhile. */
  full({ wait, timeoutMs }: { wait: boolean; timeoutMs: number }, losses: number): RfaasError {
    const waitedMs = wait ? timeoutMs : undefined;
    const { ownLimit, nodes } = this.#cluster;
    const open = [...nodes.values()].filter((node) => node.open);
    const limited = open.flatMap(({ name }) => this.#limited.get(name) ?? []);
    // Where other nodes have no room, it is not the limit alone.
    const why = ownLimit.why ?? (limited.length === open.length ? limited[0] : undefined);
    if (why) return atLimit(why, waitedMs);
    return clusterFull(this.#cluster, { ...this.#asked, losses, waitedMs, limited: limited[0] });
  }
}

/** The error of a request that the user may never hold, by what a node says of a limit that counts on all nodes; else undefined. */
function neverWithin(said: LeaseRefused, wanted: number): LeaseRefused | undefined {
  const { code, message, limit } = said;
  if (!limit?.passes) return said;
  const { cores = Infinity } = limit;
  if (wanted <= cores) return undefined;
  return new LeaseRefused(
    code,
    `${countOf(wanted, "core")} at a time are more than the user may ever hold, as a node says that was asked for a part of them: ${message}`,
    { cause: said, limit: { ...limit, passes: false } },
  );
}

/** `limited` is what a node has said of its user's limit; `waitedMs` is undefined for a request that did not wait. */
function clusterFull(
  cluster: Pick<Cluster, "nodes" | "placement">,
  asked: Asked & {
    losses: number;
    waitedMs: number | undefined;
    limited: LeaseRefused | undefined;
  },
): RfaasError {
  const all = [...cluster.nodes.values()];
  const { workers, coresPerWorker, memoryBytes, losses, waitedMs, limited } = asked;
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
  const problem = unusable?.problem ?? limited;
  const why = problem ? `; ${unusable ? `${unusable.name}: ` : ""}${problem.message}` : "";
  return new LeaseRefused(
    "RFAAS_CLUSTER_FULL",
    `the cluster had no room${waited} for ${countOf(workers, "worker")}${coresPerWorker === 1 ? "" : ` of ${coresPerWorker} cores`} in leases of ${formatBytes(memoryBytes)}: ${free === 1 ? "1 core is" : `${free} cores are`} free (${shown.join(", ") || "no node is known"}${rest})${why}${lost}; ask for less, wait longer with timeoutMs, or add nodes`,
    problem ? { cause: problem } : {},
  );
}
