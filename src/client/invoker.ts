/** The entry point of the library: connects a program to the node, or the nodes, that it names. */
import { parseAddress } from "../control/address.ts";
import { isExposed } from "../control/dial.ts";
import { UsageError } from "../base/errors.ts";
import { LOCAL_FABRIC } from "../fabric/registry.ts";
import { requirePlatform } from "../base/process.ts";
import { explained } from "../base/shortage.ts";
import { parseBytes } from "../base/units.ts";
import { DEFAULT_CONNECT_TIMEOUT_MS, throwIfAborted } from "../base/waiting.ts";
import type { Invoker } from "./cluster/invoker.ts";
import {
  chooseNode,
  namesCluster,
  openCluster,
  readClusterOptions,
  tokenOf,
} from "./cluster/open.ts";
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

/** As {@link invoker}, for one node; `voucher` says how it is known, where its manager has told. */
export async function openNode(options?: InvokerOptions, voucher?: Voucher): Promise<NodeInvoker> {
  return await explaining(connectNode(options, voucher));
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
  return await openCluster(options, {
    connect: (node, signal, voucher) => openNode({ ...each, node, signal }, voucher),
    defaultMemoryBytes: DEFAULT_MEMORY_BYTES,
  });
}

async function connectNode(given: InvokerOptions = {}, told?: Voucher): Promise<NodeInvoker> {
  requirePlatform();
  const options = readOptions("invoker", InvokerOptions, given);
  const { signal } = options;
  throwIfAborted(signal);
  const patience = { timeoutMs: options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS, signal };
  const manager = process.env["RFAAS_MANAGER"];
  const node = options.node ?? process.env["RFAAS_NODE"];
  const named = node
    ? { address: node, voucher: told }
    : manager
      ? await chooseNode(manager, tokenOf(options), patience, options.insecure)
      : undefined;
  if (named) {
    if (options.sandbox !== undefined)
      throw new UsageError(
        `sandbox is for a private node; the node ${named.address} has one of its own: leave sandbox (--sandbox) out`,
        { path: "sandbox" },
      );
    const { address, voucher } = named;
    const vouched = vouchedFor(parseAddress(address), voucher);
    if (options.encrypt && isExposed(vouched, { insecure: options.insecure }))
      throw new UsageError(
        `the connection to ${address} would be in clear, and with it the secret by which a lease's data is encrypted; leave insecure (--insecure, RFAAS_INSECURE) or encrypt (--encrypt) out`,
        { path: "encrypt" },
      );
    const fabrics = new ClientFabrics(options, vouched.kind === "tcp");
    const connection = await NodeConnection.connect(
      vouched,
      fabrics.names,
      tokenOf(options),
      patience,
      {
        name: voucher?.name,
        insecure: options.insecure,
        withhold: (known) => whyUnvouched(parseAddress(address), voucher, known),
      },
    );
    return new NodeInvoker(connection, undefined, fabrics, (node, until) =>
      openNode({ ...options, node, signal: until }, voucher),
    );
  }
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
