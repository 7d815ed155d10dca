/**
 * The nodes of a cluster and what a client knows of them. Leases are negotiated with the nodes themselves; a manager, where there
 * is one, only tells which nodes there are, and nothing here waits for it.
 */
import { type Clock, SYSTEM_CLOCK } from "../../base/clock.ts";
import { LeaseRefused, type RfaasError } from "../../base/errors.ts";
import { Placement, type RandomSource } from "../../lease/placement.ts";
import type { NodeInfo } from "../../protocol/manager-messages.ts";
import { parseBytes } from "../../base/units.ts";
import { type ClusterNodeInfo, ClusterNode, type Connect } from "./node.ts";
import { type ClusterView, Gathering } from "./gathering.ts";
import { LeaseGroup } from "./lease-group.ts";
import { requireListener } from "../events/lease-event.ts";
import type { NodesChange } from "./manager-link.ts";
import type { ListedNode } from "./node-list.ts";
import { notify } from "../../base/notify.ts";
import {
  ClusterAllocateOptions,
  DEFAULT_GATHER_TIMEOUT_MS,
  DEFAULT_LOAD_TIMEOUT_MS,
} from "../options/allocate-options.ts";
import { readOptions } from "../../options/read.ts";
import { releaseAll } from "../lease/release-all.ts";
import { Turns } from "./turns.ts";

/** What tells a cluster which nodes there are: a manager's subscription. */
export interface NodeSource {
  readonly nodes: ReadonlyMap<string, NodeInfo>;
  onChange(listener: (change: NodesChange) => void): () => void;
  close(): void;
}

/** What a cluster does not find out by itself. */
export interface ClusterContext {
  connect: Connect;
  defaultMemoryBytes: number;
  random?: RandomSource;
  clock?: Clock;
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
  readonly #context: ClusterContext;
  readonly #source: NodeSource | undefined;
  readonly #unsubscribe: () => void;
  readonly #nodes = new Map<string, ClusterNode>();
  /** The manager does not name them any more; asked for as long as they serve us. */
  readonly #parted = new Set<ClusterNode>();
  /** Nobody asks them any more. */
  readonly #departed = new Set<ClusterNode>();
  readonly #instances = new Map<string, string>();
  readonly #placement: Placement;
  readonly #groups = new Set<AsyncDisposable>();
  readonly #gatherings = new Set<Promise<unknown>>();
  readonly #listeners = new Set<(nodes: readonly ClusterNodeInfo[]) => void>();
  readonly #ended = new AbortController();
  readonly #view: ClusterView;
  #news = Promise.withResolvers<void>();
  #telling = false;
  #closed: Promise<void> | undefined;

  /** @internal Of the nodes of a list, or of those that a manager knows. */
  constructor(nodes: readonly ListedNode[] | NodeSource, context: ClusterContext) {
    this.#context = context;
    const random = context.random ?? Math.random;
    this.#placement = new Placement(random);
    this.#view = {
      nodes: this.#nodes,
      placement: this.#placement,
      turns: new Turns(),
      random,
      clock: context.clock ?? SYSTEM_CLOCK,
      hopeless: () => this.#hopeless(),
      review: () => this.#review(),
      news: () => this.#news.promise,
      closed: this.#ended.signal,
    };
    if ("onChange" in nodes) {
      this.#source = nodes;
      this.#unsubscribe = nodes.onChange((change) => this.#heard(change));
      for (const info of nodes.nodes.values()) this.#add(info);
    } else {
      this.#unsubscribe = () => {};
      for (const listed of nodes) this.#add({ ...listed, state: "expected" });
    }
  }

  /** What is known of the nodes: by the manager's last news, and by what they said themselves when they were last asked. */
  nodes(): ClusterNodeInfo[] {
    const named = [...this.#nodes.values()].filter((node) => !this.#parted.has(node));
    return named.map(({ info }) => ({ ...info }));
  }

  /**
   * Calls `listener` with {@link nodes} whenever something about them changes: a node joins, leaves or dies, or has more or less
   * free. Without a manager only what this client itself finds out is news. Returns what ends that.
   */
  on(event: "capacity", listener: (nodes: readonly ClusterNodeInfo[]) => void): () => void {
    requireListener(event, listener, ["capacity"]);
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
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
      memory = this.#context.defaultMemoryBytes,
      loadTimeoutMs = DEFAULT_LOAD_TIMEOUT_MS,
      coresPerWorker = 1,
      signal,
      ...lease
    } = readOptions("allocate", ClusterAllocateOptions, options);
    if (this.#closed) throw closedError();
    const gathering = new Gathering<Module>(this.#view, module, {
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
    this.#unsubscribe();
    this.#source?.close();
    this.#ended.abort(closedError());
    await Promise.allSettled(this.#gatherings);
    try {
      await releaseAll(this.#groups);
    } finally {
      const nodes = [...this.#nodes.values(), ...this.#departed];
      await Promise.allSettled(nodes.map((node) => node.close()));
      this.#listeners.clear();
    }
  }

  async #lookOnceReleased(lease: AsyncDisposable, node: ClusterNode): Promise<void> {
    // The release is only beginning.
    await Promise.resolve();
    await lease[Symbol.asyncDispose]();
    if (!this.#closed) await node.look();
  }

  #heard({ changed, gone }: NodesChange): void {
    for (const info of changed) this.#add(info);
    for (const name of gone) this.#part(name);
  }

  /** A manager that was started anew has not heard of its nodes yet; a node that was taken out refuses by itself. */
  #part(name: string): void {
    const node = this.#nodes.get(name);
    if (!node) return;
    this.#parted.add(node);
    this.#know(node);
    this.#tell();
  }

  #remove(node: ClusterNode): void {
    this.#nodes.delete(node.name);
    this.#instances.delete(node.name);
    this.#placement.forget(node.name);
    this.#parted.delete(node);
    // Leases on it live on as long as it lets them.
    if (node.connected) this.#departed.add(node);
  }

  #add(info: ClusterNodeInfo | NodeInfo): void {
    const { name, address, state, cores, memoryBytes, freeCores, freeMemoryBytes, leases } =
      "instance" in info
        ? info
        : { freeCores: undefined, freeMemoryBytes: undefined, leases: undefined, ...info };
    const known: ClusterNodeInfo = {
      name,
      address,
      state,
      ...(cores === undefined ? {} : { cores }),
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
      ...(freeCores === undefined ? {} : { freeCores }),
      ...(freeMemoryBytes === undefined ? {} : { freeMemoryBytes }),
      ...(leases === undefined ? {} : { leases }),
    };
    let node = this.#nodes.get(name);
    // It has come to us before it has come to its manager.
    if (node?.connected && state === "expected") return;
    const instance = "instance" in info ? info.instance : "";
    const startedAnew = this.#instances.get(name) !== instance;
    this.#instances.set(name, instance);
    if (node) this.#parted.delete(node);
    else {
      node = new ClusterNode(
        known,
        this.#context.connect,
        (changed) => this.#know(changed),
        this.#context.clock,
      );
      this.#nodes.set(name, node);
    }
    this.#learn(known, node, startedAnew);
  }

  #learn(info: ClusterNodeInfo, node: ClusterNode, startedAnew = false): void {
    node.learn(info, startedAnew);
    this.#know(node);
  }

  /** What planning knows of a node is what the node's entry says, and whether it may be asked now. */
  #know(node: ClusterNode): void {
    if (this.#nodes.get(node.name) !== node) return;
    if (this.#parted.has(node) && !(node.connected && node.open)) return this.#remove(node);
    const { freeCores, freeMemoryBytes } = node.info;
    const news = this.#placement.learn({
      name: node.name,
      freeCores,
      freeMemoryBytes,
      open: node.open,
    });
    if (news) this.#tell();
  }

  #review(): void {
    for (const node of this.#nodes.values()) this.#know(node);
  }

  #hopeless(): RfaasError | undefined {
    const all = [...this.#nodes.values()];
    const listed = this.#source === undefined;
    const vain = all.every((node) => node.hopeless || (listed && node.problem && !node.reached));
    return vain ? all[0]?.problem : undefined;
  }

  /** Several changes at once are told once. */
  #tell(): void {
    const { resolve } = this.#news;
    this.#news = Promise.withResolvers<void>();
    resolve();
    if (this.#telling || this.#listeners.size === 0) return;
    this.#telling = true;
    queueMicrotask(() => {
      this.#telling = false;
      const nodes = this.nodes();
      for (const listener of [...this.#listeners]) notify(listener, nodes);
    });
  }
}

const closedError = () =>
  new LeaseRefused("RFAAS_CLUSTER_CLOSED", "the cluster was closed; open another one");
