/** From what the user names, a manager or a list of nodes, to a cluster; or to one node of it. */
import { NodeUnreachable, UsageError } from "../errors.ts";
import { Placement } from "../lease/placement.ts";
import type { FabricName } from "../protocol/messages.ts";
import type { VerbsOptions } from "../fabric/offer.ts";
import { Cluster, type ClusterContext } from "./cluster.ts";
import { ManagerSubscription } from "./manager-link.ts";
import { nodesFromAddresses, readNodeList } from "./node-list.ts";

export type ClusterOptions = {
  /** What moves the bytes of calls. Default: `"shm"` on a node's machine, else `"verbs"`. */
  fabric?: FabricName;
  /** A token of the manager or the nodes' owner, where one is asked for. Default: `$RFAAS_TOKEN`. */
  token?: string;
  /** Which RDMA device, port and GID to use on this side, and how much travels inline. Default: found out. */
  verbs?: VerbsOptions;
} & (
  | {
      /** `HOST:PORT` of the manager, which knows the nodes. */
      manager: string;
      nodes?: undefined;
    }
  | {
      /** No manager: the path of a list such as `nodes.json`, or the addresses themselves. */
      nodes: string | readonly string[];
      manager?: undefined;
    }
);

/** Whether options ask for a cluster: a key without a value does not. */
export function namesCluster(options: object): options is ClusterOptions {
  const { manager, nodes } = options as Partial<ClusterOptions>;
  return manager !== undefined || nodes !== undefined;
}

/**
 * Opens a cluster.
 *
 * @throws {NodeUnreachable} the manager does not answer
 * @throws {UsageError} the list of nodes is wrong, or both are named
 */
export async function openCluster(
  options: ClusterOptions,
  context: ClusterContext,
): Promise<Cluster> {
  const { manager, nodes } = options;
  if (manager !== undefined && nodes !== undefined)
    throw new UsageError("a cluster has a manager or a list of nodes; leave one of the two away");
  if (manager !== undefined)
    return new Cluster(await ManagerSubscription.connect(manager, tokenOf(options)), context);
  const listed = typeof nodes === "string" ? readNodeList(nodes) : nodesFromAddresses(nodes);
  return new Cluster(listed, context);
}

/**
 * The address of one of a manager's nodes: of two that have a core free, chosen at random, the emptier one.
 *
 * @throws {NodeUnreachable} the manager does not answer, or knows of no node that is up
 */
export async function chooseNode(manager: string, token: string | null): Promise<string> {
  using subscription = await ManagerSubscription.connect(manager, token);
  const up = [...subscription.nodes.values()].filter(({ state }) => state === "up");
  const placement = new Placement(Math.random);
  for (const node of up) placement.learn({ ...node, open: true });
  const [ask] = placement.plan({
    workers: 1,
    memoryBytes: 1,
    placement: "spread",
    maxNodes: 1,
    maxWorkersPerLease: 1,
    held: new Set(),
  });
  const chosen = up.find(({ name }) => name === ask?.node) ?? up[0];
  if (chosen) return chosen.address;
  throw new NodeUnreachable(
    manager,
    `the manager at ${manager} knows of no node that is up; start one with: rfaas serve --manager ${manager}`,
  );
}

export const tokenOf = (options: { token?: string }): string | null =>
  options.token ?? (process.env["RFAAS_TOKEN"] || null);
