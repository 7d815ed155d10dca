/** The entry point of the library: a connection to a node, from which leases are taken. */
import { parseAddress } from "../control/address.ts";
import { LeaseRefused, NodeUnreachable } from "../base/errors.ts";
import { type FabricName, LOCAL_FABRIC } from "../fabric/registry.ts";
import { explained } from "../base/shortage.ts";
import { parseBytes } from "../base/units.ts";
import { allocateLease } from "./lease/allocation.ts";
import { ClientFabrics } from "./lease/attach.ts";
import type { Cluster } from "./cluster/cluster.ts";
import { type EmbeddedNode, startEmbeddedNode } from "./node/private-node.ts";
import type { Lease } from "./lease/lease.ts";
import { NodeConnection } from "./node/connection.ts";
import type { NodeStatus } from "./node/status.ts";
import { NodePackages } from "./node/packages.ts";
import {
  chooseNode,
  namesCluster,
  openCluster,
  readClusterOptions,
  tokenOf,
} from "./cluster/open.ts";
import { AllocateOptions, DEFAULT_MEMORY_BYTES, WaitOptions } from "./options/allocate-options.ts";
import { type ClusterOptions, InvokerOptions } from "./options/connect-options.ts";
import { readOptions } from "../options/read.ts";
import { releaseAll } from "./lease/release-all.ts";
import { DEFAULT_CONNECT_TIMEOUT_MS, LinkedSignal, throwIfAborted } from "../base/waiting.ts";

/** A connection to a node. Close it (or `await using`) to give back everything leased over it. */
export class Invoker implements AsyncDisposable {
  readonly #connection: NodeConnection;
  readonly #embedded: EmbeddedNode | undefined;
  readonly #fabrics: ClientFabrics;
  readonly #leases = new Set<AsyncDisposable>();
  readonly #allocations = new Set<Promise<AsyncDisposable>>();
  readonly #ended = new AbortController();
  #packages: NodePackages | undefined;
  #closed: Promise<void> | undefined;

  /** @internal */
  constructor(
    connection: NodeConnection,
    embedded: EmbeddedNode | undefined,
    fabrics: ClientFabrics,
  ) {
    this.#fabrics = fabrics;
    this.#connection = connection;
    this.#embedded = embedded;
  }

  /** Where the node is; `"private"` for one of our own. */
  get node(): string {
    return this.#connection.address;
  }

  /** How many cores the node leases. */
  get cores(): number {
    return this.#connection.welcome.cores;
  }

  /** What would move the bytes of a lease's calls. Throws {@link LeaseRefused} when client and node share nothing. */
  get fabric(): FabricName {
    return this.#fabrics.choose(this.node, this.#connection.welcome.fabrics);
  }

  /**
   * What the node has free now.
   *
   * @throws {NodeUnreachable} the connection to the node has ended
   */
  async status(options?: WaitOptions): Promise<NodeStatus> {
    const { signal } = readOptions("status", WaitOptions, options);
    const { freeCores, freeMemoryBytes, leases, prewarmedHosts } =
      await this.#connection.status(signal);
    return { freeCores, freeMemoryBytes, leases, prewarmedHosts };
  }

  /**
   * Leases workers that have loaded `module`: a path (relative to the current directory) or a `file:` URL, such as
   * `new URL("./fn.ts", import.meta.url)`. The module is bundled with its imports and sent to the node, if it has not got it. A
   * package file (`fn.rfaas`), or `package:HASH` of one that the node has, does too. Give the module's type to have function
   * names checked.
   *
   * @example
   * ```ts
   * await using lease = await rf.allocate<typeof import("./blackscholes.ts")>("./blackscholes.ts", { workers: 2 });
   * ```
   * @throws {ModuleLoadError} the module cannot be found, parsed or evaluated
   * @throws {PackageInvalid} a file cannot be in a package
   * @throws {PackageTooLarge} the node does not take so large a package
   * @throws {PackageUnknown} the node does not have the package that is named by its hash
   * @throws {LeaseRefused} the node is full or draining, or shares no fabric with this client
   * @throws {ConnectionFailed} the RDMA connection cannot be set up
   * @throws {UsageError} an option is out of range
   */
  async allocate<Module = unknown>(
    module: string | URL,
    options?: AllocateOptions,
  ): Promise<Lease<Module>> {
    const read = readOptions("allocate", AllocateOptions, options);
    if (this.#closed) throw closedError();
    using stop = new LinkedSignal(read.signal, this.#ended.signal);
    const allocation = allocateLease<Module>(module, read, {
      connection: this.#connection,
      fabrics: this.#fabrics,
      fabric: this.fabric,
      signal: stop.signal,
      onReleased: (lease) => this.#leases.delete(lease),
    });
    this.#allocations.add(allocation);
    try {
      const lease = await allocation;
      this.#leases.add(lease);
      return lease;
    } finally {
      this.#allocations.delete(allocation);
    }
  }

  /** The node's cache of packages. */
  get packages(): NodePackages {
    return (this.#packages ??= new NodePackages(this.#connection));
  }

  /** Releases every lease, then ends the connection and, if it is private, the node. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#ended.abort(closedError());
    await Promise.allSettled(this.#allocations);
    try {
      await releaseAll(this.#leases);
    } finally {
      await this.#connection.close(closedError());
      await this.#embedded?.ended();
    }
  }
}

/**
 * Several nodes: those that a manager knows, or those of a list.
 *
 * @example
 * ```ts
 * await using rf = await invoker({ manager: "10.0.0.1:7800" });
 * await using group = await rf.allocate("./fn.ts", { workers: 40 });
 * ```
 * @throws {NodeUnreachable} the manager does not answer
 * @throws {UsageError} the list of nodes is wrong
 */
export function invoker(options: ClusterOptions): Promise<Cluster>;
/**
 * Connects to a node; where none is named, to one that the manager `$RFAAS_MANAGER` knows; without that, to a private one that it
 * starts on this machine.
 *
 * @example
 * ```ts
 * await using rf = await invoker();
 * await using lease = await rf.allocate("./fn.ts");
 * ```
 * @throws {NodeUnreachable} no node answers, or the private one does not start
 * @throws {FabricUnavailable} a fabric is asked for that this machine does not have
 * @throws {EnvironmentError} the machine has run out of something, such as file descriptors
 */
export function invoker(options?: InvokerOptions): Promise<Invoker>;
export async function invoker(
  options?: InvokerOptions | ClusterOptions,
): Promise<Invoker | Cluster> {
  try {
    return await open(options);
  } catch (error) {
    throw explained(error, "no node can be reached");
  }
}

async function open(given: InvokerOptions | ClusterOptions = {}): Promise<Invoker | Cluster> {
  if (namesCluster(given)) {
    const options = readClusterOptions(given);
    const { manager: _manager, nodes: _nodes, signal: _signal, ...each } = options;
    return await openCluster(options, {
      connect: (node, signal) => invoker({ ...each, node, signal }),
      defaultMemoryBytes: DEFAULT_MEMORY_BYTES,
    });
  }
  const options = readOptions("invoker", InvokerOptions, given);
  const { signal } = options;
  throwIfAborted(signal);
  const patience = { timeoutMs: options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS, signal };
  const manager = process.env["RFAAS_MANAGER"];
  const named =
    options.node ??
    (process.env["RFAAS_NODE"] ||
      (manager ? await chooseNode(manager, tokenOf(options), patience) : undefined));
  if (named) {
    const address = parseAddress(named);
    const fabrics = new ClientFabrics(options, address.kind === "tcp");
    const connection = await NodeConnection.connect(
      address,
      fabrics.names,
      tokenOf(options),
      patience,
    );
    return new Invoker(connection, undefined, fabrics);
  }
  if (process.platform !== "linux")
    throw new NodeUnreachable(
      "private",
      "rfaas runs on Linux only, so far; name a node on a Linux machine",
    );
  const fabrics = new ClientFabrics(options, false);
  const embedded = await startEmbeddedNode(
    {
      fabric: fabrics.wanted ?? LOCAL_FABRIC,
      fabricOptions: options,
      ...(options.cores === undefined ? {} : { cores: options.cores }),
      ...(options.memory === undefined
        ? {}
        : { memoryBytes: parseBytes(options.memory, "memory") }),
      ...(options.prewarm === undefined ? {} : { prewarm: options.prewarm }),
    },
    patience,
  );
  return new Invoker(embedded.connection, embedded, fabrics);
}

const closedError = () =>
  new LeaseRefused("RFAAS_INVOKER_CLOSED", "the invoker was closed; open another one");
