/**
 * What a client knows of the nodes of a cluster: by its list or its manager, and by what they said themselves. Requests plan on it
 * (`gathering.ts`).
 */
import { type Clock, FineWallTime, SYSTEM_CLOCK } from "../../base/clock.ts";
import type { RfaasError } from "../../base/errors.ts";
import { notify } from "../../base/notify.ts";
import { Placement, type RandomSource } from "../../lease/placement.ts";
import type { NodeInfo } from "../../protocol/manager-messages.ts";
import type { NodesChange } from "./manager-link.ts";
import type { Voucher } from "./voucher.ts";
import type { ListedNode } from "./node-list.ts";
import { type ClusterNodeInfo, ClusterNode, type Connect, type ConnectedNode } from "./node.ts";
import { OwnLimit } from "./own-limit.ts";
import { Turns } from "./turns.ts";

/** What tells a cluster which nodes there are: a manager's subscription. */
export interface NodeSource {
  /** Where it is. */
  readonly address: string;
  readonly nodes: ReadonlyMap<string, NodeInfo>;
  /** How a node is known, where the source says it. */
  vouchFor?(name: string): Voucher | undefined;
  onChange(listener: (change: NodesChange) => void): () => void;
  close(): void;
}

/** How it reaches nodes; chance and time are the machine's, unless a test has its own. */
export interface KnownNodesContext {
  connect(address: string, signal: AbortSignal, voucher?: Voucher): Promise<ConnectedNode>;
  random?: RandomSource;
  clock?: Clock;
}

export class KnownNodes {
  readonly nodes = new Map<string, ClusterNode>();
  readonly placement: Placement;
  readonly turns = new Turns();
  readonly ownLimit: OwnLimit;
  readonly random: RandomSource;
  readonly clock: Clock;
  readonly #wallTime: FineWallTime;
  readonly #connect: KnownNodesContext["connect"];
  readonly #source: NodeSource | undefined;
  readonly #unsubscribe: () => void;
  /** Nodes that the manager has dropped from its list; the client asks them for as long as they serve it. */
  readonly #parted = new Set<ClusterNode>();
  /** Nodes that the client no longer asks. */
  readonly #departed = new Set<ClusterNode>();
  readonly #instances = new Map<string, string>();
  readonly #listeners = new Set<(nodes: readonly ClusterNodeInfo[]) => void>();
  readonly #ended = new AbortController();
  #news = Promise.withResolvers<void>();
  #telling = false;

  /** Those of a list, or those that a manager knows. */
  constructor(
    nodes: readonly ListedNode[] | NodeSource,
    { connect, random = Math.random, clock = SYSTEM_CLOCK }: KnownNodesContext,
  ) {
    this.#connect = connect;
    this.random = random;
    this.clock = clock;
    this.#wallTime = new FineWallTime(clock, random);
    this.ownLimit = new OwnLimit(clock);
    this.placement = new Placement(random);
    if ("onChange" in nodes) {
      this.#source = nodes;
      this.#unsubscribe = nodes.onChange((change) => this.#heard(change));
      for (const info of nodes.nodes.values()) this.#add(info);
    } else {
      this.#unsubscribe = () => {};
      for (const listed of nodes) this.#add({ ...listed, state: "expected" });
    }
  }

  /** What is known of each that is still in the cluster. */
  infos(): ClusterNodeInfo[] {
    const named = [...this.nodes.values()].filter((node) => !this.#parted.has(node));
    return named.map(({ info }) => this.#now(info));
  }

  /** Who waits goes on to wait when there is no news. */
  #now({ waitingSinceMs, ...info }: ClusterNodeInfo): ClusterNodeInfo {
    if (waitingSinceMs === undefined) return info;
    const longestWaitMs = Math.max(0, this.clock.wallMs() - waitingSinceMs);
    return { ...info, waitingSinceMs, longestWaitMs };
  }

  /** Those that may be asked. */
  open(): ClusterNode[] {
    return [...this.nodes.values()].filter((node) => node.open);
  }

  /** Asks the nodes of which no manager tells what they have free. */
  async lookAtUntold(): Promise<void> {
    const listed = this.#source === undefined;
    const untold = this.open().filter(({ info }) => listed || info.freeCores === undefined);
    await Promise.all(untold.map((node) => node.look()));
  }

  /** Calls `listener` with {@link infos} whenever something about them changes. Returns a function that unsubscribes. */
  onChange(listener: (nodes: readonly ClusterNodeInfo[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The wall time of a request that begins now: later ones have a larger one, to the microsecond. */
  began(): number {
    return this.#wallTime.nowMs();
  }

  /** Aborted when the cluster is closed. */
  get closed(): AbortSignal {
    return this.#ended.signal;
  }

  /** Ends all waits for nodes with a reason, and unsubscribes from their source. */
  end(reason: Error): void {
    this.#unsubscribe();
    this.#source?.close();
    this.#ended.abort(reason);
  }

  /** Ends the connections. Leases are to be released before. */
  async disconnect(): Promise<void> {
    const nodes = [...this.nodes.values(), ...this.#departed];
    await Promise.allSettled(nodes.map((node) => node.close()));
    this.#listeners.clear();
  }

  /** Resolves at the next news of any node. */
  news(): Promise<void> {
    return this.#news.promise;
  }

  #heard({ changed, gone }: NodesChange): void {
    for (const info of changed) this.#add(info);
    for (const name of gone) this.#part(name);
  }

  /** A manager that was started anew has not heard of its nodes yet; a node that was taken out refuses by itself. */
  #part(name: string): void {
    const node = this.nodes.get(name);
    if (!node) return;
    this.#parted.add(node);
    this.#know(node);
    this.#tell();
  }

  #remove(node: ClusterNode): void {
    this.nodes.delete(node.name);
    this.#instances.delete(node.name);
    this.placement.forget(node.name);
    this.#parted.delete(node);
    // Leases on it live on as long as it lets them.
    if (node.connected) this.#departed.add(node);
  }

  #add(info: ClusterNodeInfo | NodeInfo): void {
    const { name, address, state, cores, memoryBytes, freeCores, freeMemoryBytes, leases } =
      "instance" in info
        ? info
        : { freeCores: undefined, freeMemoryBytes: undefined, leases: undefined, ...info };
    const { keptHosts, waiting, waitingSinceMs } = info;
    const known: ClusterNodeInfo = {
      name,
      address,
      state,
      ...(cores === undefined ? {} : { cores }),
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
      ...(freeCores === undefined ? {} : { freeCores }),
      ...(freeMemoryBytes === undefined ? {} : { freeMemoryBytes }),
      ...(leases === undefined ? {} : { leases }),
      ...(keptHosts === undefined ? {} : { keptHosts }),
      ...(waiting === undefined ? {} : { waiting }),
      ...(waitingSinceMs === undefined ? {} : { waitingSinceMs }),
    };
    let node = this.nodes.get(name);
    // The node has reached this client before it has reached its manager.
    if (node?.connected && state === "expected") return;
    const instance = "instance" in info ? info.instance : "";
    const startedAnew = this.#instances.get(name) !== instance;
    this.#instances.set(name, instance);
    if (node) this.#parted.delete(node);
    else {
      const connect: Connect = (at, signal) =>
        this.#connect(at, signal, this.#source?.vouchFor?.(name));
      node = new ClusterNode(known, connect, (changed) => this.#know(changed), this.clock);
      this.nodes.set(name, node);
    }
    this.#learn(known, node, startedAnew);
  }

  #learn(info: ClusterNodeInfo, node: ClusterNode, startedAnew = false): void {
    node.learn(info, startedAnew);
    this.#know(node);
  }

  /** What planning knows of a node is what the node's entry says, and whether it may be asked now. */
  #know(node: ClusterNode): void {
    if (this.nodes.get(node.name) !== node) return;
    if (this.#parted.has(node) && !(node.connected && node.open)) return this.#remove(node);
    const { freeCores, freeMemoryBytes } = node.info;
    const news = this.placement.learn({
      name: node.name,
      freeCores,
      freeMemoryBytes,
      open: node.open,
    });
    if (news) this.#tell();
  }

  /** Brings the plan's knowledge up to date: a pause of a node may be over. */
  review(): void {
    for (const node of this.nodes.values()) this.#know(node);
  }

  /** Why waiting cannot help; undefined when it may. */
  hopeless(): RfaasError | undefined {
    const all = [...this.nodes.values()];
    const listed = this.#source === undefined;
    const vain = all.every((node) => node.hopeless || (listed && node.problem && !node.reached));
    return vain ? all[0]?.problem : undefined;
  }

  /** Tells listeners once of several changes in one turn. */
  #tell(): void {
    const { resolve } = this.#news;
    this.#news = Promise.withResolvers<void>();
    resolve();
    if (this.#telling || this.#listeners.size === 0) return;
    this.#telling = true;
    queueMicrotask(() => {
      this.#telling = false;
      const nodes = this.infos();
      for (const listener of [...this.#listeners]) notify(listener, nodes);
    });
  }
}
