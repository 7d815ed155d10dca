/** The entry point of the library: connects a program to the node, or the nodes, that it names. */
import { parseAddress } from "../control/address.ts";
import { isExposed } from "../control/dial.ts";
import { UsageError } from "../base/errors.ts";
import { LOCAL_FABRIC } from "../fabric/registry.ts";
import { requirePlatform } from "../base/process.ts";
import { explained } from "../base/shortage.ts";
import { parseBytes } from "../base/units.ts";
import { TokenSource } from "./tokens/token-source.ts";
import { warnOnce } from "../base/warnings.ts";
import { DEFAULT_CONNECT_TIMEOUT_MS, type Patience, throwIfAborted } from "../base/waiting.ts";
import type { Invoker } from "./cluster/invoker.ts";
import { chooseNode, namesCluster, openCluster, readClusterOptions } from "./cluster/open.ts";
import { type Voucher, vouchedFor, whyUnvouched } from "./cluster/voucher.ts";
import { ClientFabrics } from "./lease/attach.ts";
import { NodeConnection } from "./node/connection.ts";
import { startEmbeddedNode } from "./node/private-node.ts";
import { NodeInvoker } from "./node-invoker.ts";
import { DEFAULT_MEMORY_BYTES } from "./options/allocate-options.ts";
import { type ClusterOptions, InvokerOptions } from "./options/connect-options.ts";
import { readOptions } from "../options/read.ts";

/**
 * Connects to where leases come from: a node (`node`), those that a manager knows (`manager`), those of a list (`nodes`). Where none
 * is named, to the node of `$RFAAS_NODE`, or to one that the manager `$RFAAS_MANAGER` knows; without these, to a private node that
 * it starts on this machine. A program is the same for all of them.
 *
 * @example
 * ```ts
 * await using rf = await invoker({ manager: "10.0.0.1:7800" });
 * await using lease = await rf.allocate("./fn.ts", { workers: 40 });
 * ```
 * @throws {NodeUnreachable} no node or manager answers, or the private node does not start
 * @throws {PeerNotTrusted} another machine than the one that is pinned, or was met before, answers
 * @throws {PlatformUnsupported} rfaas does not run on this machine
 * @throws {VersionMismatch} the executable for a private node is of another version than the library
 * @throws {FabricUnavailable} this machine lacks the fabric that the options ask for
 * @throws {EnvironmentError} the machine has run out of something, such as file descriptors
 * @throws {UsageError} an option is wrong, or the list of nodes is
 */
export async function invoker(options?: InvokerOptions | ClusterOptions): Promise<Invoker> {
  return namesCluster(options) ? await explaining(openNodes(options)) : await openNode(options);
}

/**
 * As {@link invoker}, for one node; `voucher` says how it is known, where its manager has told, and `tokens` who asks, where others show
 * those, too.
 */
export async function openNode(
  options?: InvokerOptions,
  voucher?: Voucher,
  tokens?: TokenSource,
): Promise<NodeInvoker> {
  return await explaining(connectNode(options, voucher, tokens));
}

async function explaining<Opened>(opening: Promise<Opened>): Promise<Opened> {
  try {
    return await opening;
  } catch (error) {
    throw explained(error, "no node can be reached");
  }
}

async function openNodes(given: ClusterOptions): Promise<Invoker> {
  requirePlatform();
  const options = readClusterOptions(given);
  const { manager: _manager, nodes: _nodes, signal: _signal, ...each } = options;
  const tokens = new TokenSource(options);
  try {
    return await openCluster(options, tokens, {
      connect: (node, signal, voucher) => openNode({ ...each, node, signal }, voucher, tokens),
      defaultMemoryBytes: DEFAULT_MEMORY_BYTES,
      closed: () => tokens[Symbol.dispose](),
    });
  } catch (error) {
    tokens[Symbol.dispose]();
    throw error;
  }
}

async function connectNode(
  given: InvokerOptions = {},
  told?: Voucher,
  others?: TokenSource,
): Promise<NodeInvoker> {
  requirePlatform();
  const options = readOptions("invoker", InvokerOptions, given);
  const { signal } = options;
  throwIfAborted(signal);
  const patience = { timeoutMs: options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS, signal };
  const manager = process.env["RFAAS_MANAGER"];
  const node = options.node ?? process.env["RFAAS_NODE"];
  if (!node && !manager) return await startPrivate(options, patience);
  const tokens = others ?? new TokenSource(options);
  try {
    return await reachNode(options, { node, manager, told, patience }, tokens, !others);
  } catch (error) {
    if (!others) tokens[Symbol.dispose]();
    throw error;
  }
}

interface NamedNode {
  node: string | undefined;
  manager: string | undefined;
  told: Voucher | undefined;
  patience: Patience;
}

/** The node that is named, or one that the manager names; with it go the tokens, if no others use them. */
async function reachNode(
  options: InvokerOptions,
  { node, manager, told, patience }: NamedNode,
  tokens: TokenSource,
  own: boolean,
): Promise<NodeInvoker> {
  const { address, voucher } = node
    ? { address: node, voucher: told }
    : await chooseNode(manager!, tokens.text, patience, options.insecure);
  if (options.sandbox !== undefined)
    throw new UsageError(
      `sandbox is for a private node; the node ${address} has one of its own: leave sandbox (--sandbox) out`,
      { path: "sandbox" },
    );
  const vouched = vouchedFor(parseAddress(address), voucher);
  if (options.encrypt && isExposed(vouched, { insecure: options.insecure }))
    throw new UsageError(
      `the connection to ${address} would be in clear, and with it the secret by which a lease's data is encrypted; leave insecure (--insecure, RFAAS_INSECURE) or encrypt (--encrypt) out`,
      { path: "encrypt" },
    );
  const fabrics = new ClientFabrics(options, vouched.kind === "tcp");
  const connection = await NodeConnection.connect(vouched, fabrics.names, tokens.text, patience, {
    name: voucher?.name,
    insecure: options.insecure,
    withhold: (known) => whyUnvouched(parseAddress(address), voucher, known),
  });
  const unlisten = tokens.onNewer((text) => {
    connection.renewToken(text).catch((error: Error) => {
      const problem = `the node at ${address} does not take the newer token: ${error.message}`;
      warnOnce(problem, "RFAAS_TOKEN");
    });
  });
  connection.onTokenExpires = () => void tokens.renew();
  return new NodeInvoker(
    connection,
    undefined,
    fabrics,
    (other, until) => openNode({ ...options, node: other, signal: until }, voucher, tokens),
    () => {
      unlisten();
      if (own) tokens[Symbol.dispose]();
    },
  );
}

async function startPrivate(options: InvokerOptions, patience: Patience): Promise<NodeInvoker> {
  const fabrics = new ClientFabrics(options, false);
  const embedded = await startEmbeddedNode(
    {
      fabric: fabrics.own ?? LOCAL_FABRIC,
      fabricOptions: options,
      ...(options.cores === undefined ? {} : { cores: options.cores }),
      ...(options.memory === undefined
        ? {}
        : { memoryBytes: parseBytes(options.memory, "memory") }),
      ...(options.prewarm === undefined ? {} : { prewarm: options.prewarm }),
      ...(options.keptHosts === undefined ? {} : { keptHosts: options.keptHosts }),
      ...(options.sandbox === undefined ? {} : { sandbox: options.sandbox }),
    },
    patience,
  );
  return new NodeInvoker(embedded.connection, embedded, fabrics, (_, until) =>
    openNode({ ...options, signal: until }),
  );
}
