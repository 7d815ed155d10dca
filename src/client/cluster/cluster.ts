/**
 * A cluster as its program sees it. Leases are negotiated with the nodes themselves; a manager, where there is one, only tells which
 * nodes there are, and nothing here waits for it.
 */
import { LeaseRefused } from "../../base/errors.ts";
import { parseBytes } from "../../base/units.ts";
import { throwIfAborted, untilAborted } from "../../base/waiting.ts";
import type { ClusterNodeInfo } from "./node.ts";
import { type Gathered, Gathering, type GatheringOptions } from "./gathering.ts";
import type { Invoker } from "./invoker.ts";
import { KnownNodes, type KnownNodesContext, type NodeSource } from "./known-nodes.ts";
import { requireListener } from "../events/lease-event.ts";
import { Healing, type Replace } from "../lease/healing.ts";
import { JoinedLease } from "../lease/joined-lease.ts";
import type { Lease } from "../lease/lease.ts";
import type { PartLease } from "../lease/part.ts";
import type { Packages } from "../node/packages.ts";
import type { NodeStatus } from "../node/status.ts";
import type { ListedNode } from "./node-list.ts";
import { ClusterPackages } from "./packages.ts";
import {
  AllocateOptions,
  DEFAULT_LOAD_TIMEOUT_MS,
  DEFAULT_WAIT_TIMEOUT_MS,
  WaitOptions,
} from "../options/allocate-options.ts";
import { readOptions } from "../../options/read.ts";
import { PoolOptions } from "../options/pool-options.ts";
import type { Pool } from "../pool/pool.ts";
import { WorkerPool } from "../pool/worker-pool.ts";
import { releaseAll } from "../lease/release-all.ts";

/** What the caller tells a cluster. */
export interface ClusterContext extends KnownNodesContext {
  defaultMemoryBytes: number;
  /** Called when the cluster was closed. */
  closed?(): void;
}

/** Its methods are described where {@link Invoker} is. */
export class Cluster implements Invoker {
  readonly address: string;
  readonly packages: Packages;
  readonly #defaultMemoryBytes: number;
  readonly #known: KnownNodes;
  readonly #leases = new Set<AsyncDisposable>();
  readonly #gatherings = new Set<Promise<unknown>>();
  readonly #onClosed: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  /** Of the nodes of a list, or of those that a manager knows. */
  constructor(nodes: readonly ListedNode[] | NodeSource, context: ClusterContext) {
    this.#defaultMemoryBytes = context.defaultMemoryBytes;
    this.#onClosed = context.closed && (() => context.closed?.());
    const known = new KnownNodes(nodes, context);
    this.#known = known;
    this.packages = new ClusterPackages(() => known.open());
    this.address =
      "onChange" in nodes ? nodes.address : nodes.map(({ address }) => address).join(",");
  }

  get cores(): number {
    return this.nodes().reduce((sum, { cores = 0 }) => sum + cores, 0);
  }

  async status(options?: WaitOptions): Promise<NodeStatus> {
    const { signal } = readOptions("status", WaitOptions, options);
    throwIfAborted(signal);
    await untilAborted(this.#known.lookAtUntold(), signal);
    const up = this.nodes().filter(({ state }) => state === "up");
    const vain = up.length === 0 ? this.#known.hopeless() : undefined;
    if (vain) throw vain;
    const free = { freeCores: 0, freeMemoryBytes: 0 };
    const all = { ...free, leases: 0, prewarmedHosts: 0, keptHosts: 0, waiting: 0 };
    for (const node of up)
      for (const name of Object.keys(all) as (keyof typeof all)[]) all[name] += node[name] ?? 0;
    return { ...all, longestWaitMs: Math.max(0, ...up.map((node) => node.longestWaitMs ?? 0)) };
  }

  nodes(): ClusterNodeInfo[] {
    return this.#known.infos();
  }

  on(event: "capacity", listener: (nodes: readonly ClusterNodeInfo[]) => void): () => void {
    requireListener(event, listener, ["capacity"]);
    return this.#known.onChange(listener);
  }

  async allocate<Module = unknown>(
    module: string | URL,
    options?: AllocateOptions,
  ): Promise<Lease<Module>> {
    const {
      workers = 1,
      placement = "spread",
      nodes = Infinity,
      wait = true,
      timeoutMs = DEFAULT_WAIT_TIMEOUT_MS,
      memory = this.#defaultMemoryBytes,
      loadTimeoutMs = DEFAULT_LOAD_TIMEOUT_MS,
      coresPerWorker = 1,
      onLoss = "end",
      signal,
      ...wishes
    } = readOptions("allocate", AllocateOptions, options);
    if (this.#closed) throw closedError();
    const gather = (of: number, until: AbortSignal | undefined, mayWait = wait) =>
      this.#gather<Module>(module, {
        workers: of,
        memoryBytes: parseBytes(memory, "memory"),
        placement,
        maxNodes: nodes,
        wait: mayWait,
        timeoutMs,
        signal: until,
        lease: { ...wishes, coresPerWorker, loadTimeoutMs },
      });
    const replace: Replace<Module> = async (lost, until) =>
      (await gather(lost, until, true)).map(({ lease, node }) => ({
        ...{ lease, node: node.name, address: node.info.address },
      }));
    const gathered = await gather(workers, signal);
    const lease = this.#join(gathered, onLoss === "replace" ? new Healing(replace) : undefined);
    this.#leases.add(lease);
    lease.afterRelease(() => this.#leases.delete(lease));
    return lease;
  }

  /** As its own {@link Gathering} has it; the nodes look again at what they have free when a part of it ends. */
  async #gather<Module>(
    module: string | URL,
    options: GatheringOptions,
  ): Promise<Gathered<Module>[]> {
    const request = new Gathering<Module>(this.#known, module, options);
    const gathering = request.run();
    this.#gatherings.add(gathering);
    try {
      const gathered = await gathering;
      for (const { lease, node } of gathered) {
        lease.waited = request.waitedMs;
        // Freed room, and the death of a node, are news to waiting requests.
        lease.afterRelease(() => {
          this.#known.ownLimit.released();
          return this.#closed ? undefined : node.look();
        });
        lease.on("lost", () => {
          this.#known.ownLimit.released();
          void node.look();
        });
      }
      return gathered;
    } finally {
      this.#gatherings.delete(gathering);
    }
  }

  async pool<Module = unknown>(module: string | URL, options?: PoolOptions): Promise<Pool<Module>> {
    const read = readOptions("pool", PoolOptions, options);
    const pool = await WorkerPool.open((each) => this.allocate(module, each), read);
    // The module's type says what its functions take and return.
    return pool as unknown as Pool<Module>;
  }

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
      await releaseAll(this.#leases);
    } finally {
      await this.#known.disconnect();
      this.#onClosed?.();
    }
  }

  /** One lease of all parts. A single one is that lease: its calls go no longer way. */
  #join<Module>(
    gathered: readonly Gathered<Module>[],
    healing: Healing<Module> | undefined,
  ): PartLease<Module> | JoinedLease<Module> {
    let firstWorker = 0;
    for (const [part, { lease, node }] of gathered.entries()) {
      lease.join({ part, firstWorker, node: node.name, address: node.info.address });
      firstWorker += lease.workers;
    }
    const parts = gathered.map(({ lease }) => lease);
    return parts.length === 1 && !healing ? parts[0]! : new JoinedLease(parts, healing);
  }
}

const closedError = () =>
  new LeaseRefused("RFAAS_CLUSTER_CLOSED", "the cluster was closed; open another one");
