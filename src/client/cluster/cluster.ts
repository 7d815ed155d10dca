/**
 * A cluster as its program sees it. Leases are negotiated with the nodes themselves; a manager, where there is one, only tells which
 * nodes there are, and nothing here waits for it.
 */
import { LeaseRefused } from "../../base/errors.ts";
import { parseBytes } from "../../base/units.ts";
import type { ClusterNodeInfo, ClusterNode } from "./node.ts";
import { Gathering } from "./gathering.ts";
import { KnownNodes, type KnownNodesContext, type NodeSource } from "./known-nodes.ts";
import { LeaseGroup } from "./lease-group.ts";
import { requireListener } from "../events/lease-event.ts";
import type { ListedNode } from "./node-list.ts";
import {
  ClusterAllocateOptions,
  DEFAULT_GATHER_TIMEOUT_MS,
  DEFAULT_LOAD_TIMEOUT_MS,
} from "../options/allocate-options.ts";
import { readOptions } from "../../options/read.ts";
import { releaseAll } from "../lease/release-all.ts";

/** What a cluster does not find out by itself. */
export interface ClusterContext extends KnownNodesContext {
  defaultMemoryBytes: number;
}

/**
 * Several nodes that are leased from as if they were one. Close it (or `await using`) to give back everything leased over it.
 *
 * @example
 * ```ts
 * await using rf = await invoker({ nodes: "nodes.json" });
 * await using group = await rf.allocate("./blackscholes.ts", { workers: 40 });
 * ```
 */
export class Cluster implements AsyncDisposable {
  readonly #defaultMemoryBytes: number;
  readonly #known: KnownNodes;
  readonly #groups = new Set<AsyncDisposable>();
  readonly #gatherings = new Set<Promise<unknown>>();
  #closed: Promise<void> | undefined;

  /** @internal Of the nodes of a list, or of those that a manager knows. */
  constructor(nodes: readonly ListedNode[] | NodeSource, context: ClusterContext) {
    this.#defaultMemoryBytes = context.defaultMemoryBytes;
    this.#known = new KnownNodes(nodes, context);
  }

  /** What is known of the nodes: by the manager's last news, and by what they said themselves when they were last asked. */
  nodes(): ClusterNodeInfo[] {
    return this.#known.infos();
  }

  /**
   * Calls `listener` with {@link nodes} whenever something about them changes: a node joins, leaves or dies, or has more or less
   * free. Without a manager only what this client itself finds out is news. Returns what ends that.
   */
  on(event: "capacity", listener: (nodes: readonly ClusterNodeInfo[]) => void): () => void {
    requireListener(event, listener, ["capacity"]);
    return this.#known.onChange(listener);
  }

  /**
   * Leases workers that have loaded `module`, on one node or several. Asks the nodes that are known to have room, keeps partial
   * grants, and waits in the order of requests while there is too little. `memory` is that of each lease.
   *
   * @example
   * ```ts
   * await using group = await rf.allocate<typeof import("./fn.ts")>("./fn.ts", { workers: 40, placement: "pack" });
   * ```
   * @throws {LeaseRefused} with code `RFAAS_CLUSTER_FULL` when there is no room in time, or at once with `wait: false`
   * @throws {NodeUnreachable} none of the listed nodes answers
   * @throws {ModuleLoadError} the module cannot be found, parsed or evaluated
   * @throws {UsageError} an option is out of range
   */
  async allocate<Module = unknown>(
    module: string | URL,
    options?: ClusterAllocateOptions,
  ): Promise<LeaseGroup<Module>> {
    const {
      workers = 1,
      placement = "spread",
      nodes = Infinity,
      wait = true,
      timeoutMs = DEFAULT_GATHER_TIMEOUT_MS,
      memory = this.#defaultMemoryBytes,
      loadTimeoutMs = DEFAULT_LOAD_TIMEOUT_MS,
      coresPerWorker = 1,
      signal,
      ...lease
    } = readOptions("allocate", ClusterAllocateOptions, options);
    if (this.#closed) throw closedError();
    const gathering = new Gathering<Module>(this.#known, module, {
      workers,
      memoryBytes: parseBytes(memory, "memory"),
      placement,
      maxNodes: nodes,
      wait,
      timeoutMs,
      signal,
      lease: { ...lease, coresPerWorker, loadTimeoutMs },
    }).run();
    this.#gatherings.add(gathering);
    try {
      const gathered = await gathering;
      const looks: Promise<void>[] = [];
      const group = new LeaseGroup<Module>(
        gathered.map(({ lease, node }) => ({ lease, node: node.name })),
        async () => {
          this.#groups.delete(group);
          await Promise.all(looks);
        },
      );
      for (const { lease, node } of gathered) {
        // What comes free, and a node that dies, is news.
        lease.on("released", () => looks.push(this.#lookOnceReleased(lease, node)));
        lease.on("lost", () => void node.look());
      }
      this.#groups.add(group);
      return group;
    } finally {
      this.#gatherings.delete(gathering);
    }
  }

  /** Ends what waits, releases every group, then ends the connections. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#known.end(closedError());
    await Promise.allSettled(this.#gatherings);
    try {
      await releaseAll(this.#groups);
    } finally {
      await this.#known.disconnect();
    }
  }

  async #lookOnceReleased(lease: AsyncDisposable, node: ClusterNode): Promise<void> {
    // The release is only beginning.
    await Promise.resolve();
    await lease[Symbol.asyncDispose]();
    if (!this.#closed) await node.look();
  }
}

const closedError = () =>
  new LeaseRefused("RFAAS_CLUSTER_CLOSED", "the cluster was closed; open another one");
