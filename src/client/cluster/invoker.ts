/** What a program takes leases from: a node or many, by one interface. */
import type { Lease } from "../lease/lease.ts";
import type { Packages } from "../node/packages.ts";
import type { NodeStatus } from "../node/status.ts";
import type { PoolOptions } from "../options/pool-options.ts";
import type { Pool } from "../pool/pool.ts";
import type { AllocateOptions, WaitOptions } from "../options/allocate-options.ts";
import type { ClusterNodeInfo } from "./node.ts";

/**
 * A way to a node, to the nodes of a list, or to those that a manager knows: a program uses them alike. Close it (or `await using`)
 * to give back everything leased over it.
 *
 * @example
 * ```ts
 * await using rf = await invoker({ nodes: "nodes.json" });
 * await using lease = await rf.allocate("./blackscholes.ts", { workers: 40 });
 * ```
 */
export interface Invoker extends AsyncDisposable {
  /** Where it leads: the address of a node or a manager, `"private"` for a node of our own, or the listed addresses. */
  readonly address: string;
  /** How many cores its nodes lease, as far as it is known. */
  readonly cores: number;
  /** The cache of packages, of each node. */
  readonly packages: Packages;

  /**
   * What the nodes have free now, all together. Of a manager's nodes: by its last news.
   *
   * @throws {NodeUnreachable} the connection to the node has ended
   */
  status(options?: WaitOptions): Promise<NodeStatus>;

  /** What is known of the nodes: by a manager's last news, and by what they said themselves when they were last asked. */
  nodes(): ClusterNodeInfo[];

  /**
   * Calls `listener` with {@link nodes} whenever something about them changes: a node joins, leaves or dies, or has more or less
   * free. Without a manager the client reports only what it finds out itself. Returns a function that unsubscribes.
   */
  on(event: "capacity", listener: (nodes: readonly ClusterNodeInfo[]) => void): () => void;

  /**
   * Leases workers that have loaded `module`: a path (relative to the current directory) or a `file:` URL, such as
   * `new URL("./fn.ts", import.meta.url)`. The module is bundled with its imports and sent to the nodes that have not got it. A
   * package file (`fn.rfaas`), or `package:HASH` of one that the nodes have, does too. Give the module's type to have function
   * names checked.
   *
   * Of a cluster, the nodes that are known to have room are asked, partial grants are kept, and requests wait in their order while
   * there is too little. The lease then has a part on each node. `memory` is that of each part.
   *
   * @example
   * ```ts
   * await using lease = await rf.allocate<typeof import("./fn.ts")>("./fn.ts", { workers: 40, placement: "pack" });
   * ```
   * @throws {ModuleLoadError} the module cannot be found, parsed or evaluated
   * @throws {PackageInvalid} a file cannot be in a package
   * @throws {PackageTooLarge} the node does not take so large a package
   * @throws {PackageUnknown} the node does not have the package that is named by its hash
   * @throws {LeaseRefused} the node or the cluster is full, drains, or shares no fabric with this client
   * @throws {NodeUnreachable} none of the nodes answers
   * @throws {ConnectionFailed} the RDMA connection cannot be set up
   * @throws {UsageError} an option is out of range
   */
  allocate<Module = unknown>(
    module: string | URL,
    options?: AllocateOptions,
  ): Promise<Lease<Module>>;

  /**
   * Workers for `module` that grow with the queue of calls and shrink when idle, between `min` and `max`: for services, whose load is not known
   * beforehand. What is lost is replaced.
   *
   * @example
   * ```ts
   * await using pool = await rf.pool<typeof import("./fn.ts")>("./fn.ts", { min: 1, max: 8 });
   * const price = pool.function("price");
   * ```
   * @throws whatever {@link allocate} throws, for the first workers
   */
  pool<Module = unknown>(module: string | URL, options?: PoolOptions): Promise<Pool<Module>>;

  /** Ends requests that wait, releases every lease, then ends the connections and, if it is private, the node. */
  close(): Promise<void>;
}
