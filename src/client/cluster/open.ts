/** From what the user names, a manager or a list of nodes, to a cluster; or to one node of it. */
import { NodeUnreachable, UsageError } from "../../base/errors.ts";
import { Placement } from "../../lease/placement.ts";
import { Cluster, type ClusterContext } from "./cluster.ts";
import { ManagerSubscription } from "./manager-link.ts";
import type { TokenSource } from "../tokens/token-source.ts";
import type { Voucher } from "./voucher.ts";
import { nodesFromAddresses, readNodeList } from "./node-list.ts";
import {
  type ClusterOptions,
  ListedClusterOptions,
  ManagedClusterOptions,
} from "../options/connect-options.ts";
import { readOptions } from "../../options/read.ts";
import {
  DEFAULT_CONNECT_TIMEOUT_MS,
  type Patience,
  throwIfAborted,
  untilAborted,
} from "../../base/waiting.ts";
import { SYSTEM_CLOCK } from "../../base/clock.ts";
import type { NodeInfo } from "../../protocol/manager-messages.ts";

/** Whether options ask for a cluster: a key without a value does not. */
export function namesCluster(options: unknown): options is ClusterOptions {
  if (typeof options !== "object" || options === null) return false;
  const { manager, nodes } = options as Partial<ClusterOptions>;
  return manager !== undefined || nodes !== undefined;
}

/** Throws {@link UsageError} when they are wrong, or name both a manager and nodes. */
export function readClusterOptions(options: ClusterOptions): ClusterOptions {
  if (options.manager !== undefined && options.nodes !== undefined)
    throw new UsageError("a cluster has a manager or a list of nodes; leave one of the two out");
  return options.manager !== undefined
    ? readOptions("invoker", ManagedClusterOptions, options)
    : readOptions("invoker", ListedClusterOptions, options);
}

/**
 * Opens a cluster.
 *
 * @throws {NodeUnreachable} the manager does not answer
 * @throws {UsageError} the list of nodes is wrong
 */
export async function openCluster(
  options: ClusterOptions,
  tokens: TokenSource,
  context: ClusterContext,
): Promise<Cluster> {
  const { signal, connectTimeoutMs: timeoutMs = DEFAULT_CONNECT_TIMEOUT_MS } = options;
  throwIfAborted(signal);
  if (options.manager !== undefined) {
    const patience = { timeoutMs, signal };
    const { manager, insecure } = options;
    const source = await ManagerSubscription.connect(manager, tokens.text, patience, { insecure });
    tokens.onNewer((text) => source.useToken(text));
    tokens.askManager(() => source.renewToken());
    return new Cluster(source, context);
  }
  const { nodes } = options;
  const listed = typeof nodes === "string" ? readNodeList(nodes) : nodesFromAddresses(nodes);
  return new Cluster(listed, context);
}

/** A manager that has just started, or taken over, hears of its nodes within this time. */
const NODES_LIMIT_MS = 5_000;

/**
 * The address of one of a manager's nodes, and how it is known: of two that have a core free, chosen at random, the emptier one.
 *
 * @throws {NodeUnreachable} the manager does not answer, or knows of no node that is up
 */
export async function chooseNode(
  manager: string,
  token: string | null,
  patience?: Patience,
  insecure?: boolean,
): Promise<{ address: string; voucher: Voucher | undefined }> {
  using subscription = await ManagerSubscription.connect(manager, token, patience, { insecure });
  const up = await nodesUp(subscription, patience?.signal);
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
  if (chosen) return { address: chosen.address, voucher: subscription.vouchFor(chosen.name) };
  throw new NodeUnreachable(
    manager,
    `the manager at ${manager} knows of no node that is up; start one with: rfaas serve --manager ${manager}`,
  );
}

/** The nodes that are up; none where no node has come in time. */
async function nodesUp(
  subscription: ManagerSubscription,
  signal: AbortSignal | undefined,
): Promise<NodeInfo[]> {
  const up = (): NodeInfo[] =>
    [...subscription.nodes.values()].filter(({ state }) => state === "up");
  if (up().length > 0) return up();
  const come = Promise.withResolvers<void>();
  const forget = subscription.onChange(() => up().length > 0 && come.resolve());
  const timer = SYSTEM_CLOCK.after(NODES_LIMIT_MS, () => come.resolve());
  try {
    await untilAborted(come.promise, signal);
  } finally {
    timer.clear();
    forget();
  }
  return up();
}
