/**
 * One request for workers of a cluster, from the first look to the last grant: plans on what is known, asks several nodes at once,
 * keeps what is granted, and waits for room while there is too little. Ends with all workers, or with none.
 */
import { LAYOUT } from "../../../ffi/layout.ts";
import type { Clock } from "../../base/clock.ts";
import { ConnectionFailed, LeaseLost, LeaseRefused, type RfaasError } from "../../base/errors.ts";
import {
  type Ask,
  MAX_LOOKS_AT_ONCE,
  type Placement,
  type PlacementPolicy,
  type Wanted,
} from "../../lease/placement.ts";
import { countOf, formatBytes } from "../../base/units.ts";
import type { ClusterNode } from "./node.ts";
import { isOfNode } from "./voucher.ts";
import type { PartLease } from "../lease/part.ts";
import type { AllocateOptions } from "../options/allocate-options.ts";
import type { Turn, Turns } from "./turns.ts";
import { LinkedSignal, throwIfAborted, untilAborted } from "../../base/waiting.ts";

/** What a request needs of its cluster. */
export interface ClusterView {
  readonly nodes: ReadonlyMap<string, ClusterNode>;
  readonly placement: Placement;
  readonly turns: Turns;
  readonly random: () => number;
  readonly clock: Clock;
  /** Why waiting cannot help; undefined when it may. */
  hopeless(): RfaasError | undefined;
  /** Brings the plan's knowledge up to date: a pause of a node may be over. */
  review(): void;
  /** Resolves at the next news of any node. */
  news(): Promise<void>;
  /** Aborted when the cluster is closed. */
  readonly closed: AbortSignal;
}

export interface GatheringOptions {
  workers: number;
  memoryBytes: number;
  placement: PlacementPolicy;
  maxNodes: number;
  wait: boolean;
  timeoutMs: number;
  signal: AbortSignal | undefined;
  /** For each lease, without its workers. */
  lease: AllocateOptions & { loadTimeoutMs: number };
}

/** A lease and where it is. */
export interface Gathered<Module> {
  node: ClusterNode;
  lease: PartLease<Module>;
}

/** Between two looks at a full cluster that sends no news. */
const MIN_BACK_OFF_MS = 10;
const MAX_BACK_OFF_MS = 1000;
/** Two clients that each hold what the other waits for give it back after this time, randomized up to twice as long. */
const HOLD_MS = 500;
/** The request fails when this many leases have failed to open: then the module or the network is at fault. */
const MAX_MISHAPS = 3;
/** How long a request waits for a node to take leases back before it continues. */
const GIVE_BACK_LIMIT_MS = 2000;
const SHOWN_NODES = 8;

const workersOf = (asks: readonly Ask[]): number =>
  asks.reduce((sum, { workers }) => sum + workers, 0);

export class Gathering<Module> {
  readonly #cluster: ClusterView;
  readonly #module: string | URL;
  readonly #options: GatheringOptions;
  readonly #clock: Clock;
  readonly #startedMs: number;
  #gathered: Gathered<Module>[] = [];
  #over = false;
  /** Aborted when the request is over: tells nodes that it no longer wants their leases. */
  readonly #stopped = new AbortController();
  /** Set when the caller has taken over the gathered leases. */
  #done = false;
  #fatal: unknown;
  #mishaps = 0;
  /** Leases that were lost while others were awaited. */
  #losses = 0;
  #backOffMs = MIN_BACK_OFF_MS;
  /** Nodes were asked what they have free, since the last pause. */
  #looked = false;
  #letGoAtMs = Infinity;
  #holdAgainAtMs = 0;

  constructor(cluster: ClusterView, module: string | URL, options: GatheringOptions) {
    this.#cluster = cluster;
    this.#clock = cluster.clock;
    this.#startedMs = cluster.clock.nowMs();
    this.#module = module;
    this.#options = options;
  }

  /** All leases, in the order in which they were granted. When it throws, nothing is held. */
  async run(): Promise<Gathered<Module>[]> {
    const turn = this.#cluster.turns.enter();
    using stop = new LinkedSignal(this.#cluster.closed, this.#options.signal);
    try {
      throwIfAborted(stop.signal);
      return await untilAborted(this.#gather(turn), stop.signal);
    } catch (error) {
      this.#over = true;
      this.#stopped.abort(error);
      await this.#giveBack();
      throw error;
    } finally {
      turn.leave();
    }
  }

  get #coresPerWorker(): number {
    return this.#options.lease.coresPerWorker ?? 1;
  }

  get #missing(): number {
    return this.#gathered.reduce((left, { lease }) => left - lease.workers, this.#options.workers);
  }

  async #gather(turn: Turn): Promise<Gathered<Module>[]> {
    while (this.#missing > 0 && !this.#over) {
      // Where leases end sooner than others open, there may always be room, and never be all.
      if (this.#losses > 0 && this.#leftMs <= 0) throw this.#full();
      if (!turn.first) {
        await this.#queue(turn);
        continue;
      }
      await this.#lookAtUnknown();
      const asks = this.#cluster.placement.plan(this.#wanted());
      if (workersOf(asks) === this.#missing) {
        // What is planned is reserved: others may plan with the rest.
        const asked = this.#askAll(asks);
        turn.pause();
        await asked;
        turn.resume();
      } else if (!this.#looked) await this.#lookAgain();
      else if (asks.length > 0 && this.#mayHold) await this.#askAll(asks);
      else {
        turn.wait();
        await this.#waitForRoom();
        turn.resume();
      }
    }
    this.#done = true;
    return this.#gathered;
  }

  get #leftMs(): number {
    return this.#startedMs + this.#options.timeoutMs - this.#clock.nowMs();
  }

  /** Whether to take a part and wait for the rest; where few nodes are wanted, the rest may never come to just these. */
  get #mayHold(): boolean {
    const { wait, maxNodes } = this.#options;
    return wait && maxNodes === Infinity && this.#clock.nowMs() >= this.#holdAgainAtMs;
  }

  #wanted(): Wanted {
    const { memoryBytes, placement, maxNodes } = this.#options;
    return {
      workers: this.#missing,
      coresPerWorker: this.#coresPerWorker,
      memoryBytes,
      placement,
      maxNodes,
      maxWorkersPerLease: LAYOUT.maxWorkers,
      held: new Set(this.#gathered.map(({ node }) => node.name)),
    };
  }

  /** A request that is not first gives back what it holds: the first may need exactly that. */
  async #queue(turn: Turn): Promise<void> {
    await this.#giveBack();
    if (turn.first) return;
    const { wait } = this.#options;
    if (!wait && turn.behindWaiting) throw this.#full();
    await this.#until(turn.comes(!wait));
  }

  /** The request waits for a node that has failed before only where the other nodes do not suffice. */
  async #lookAtUnknown(): Promise<void> {
    const { nodes, placement } = this.#cluster;
    this.#cluster.review();
    for (;;) {
      const unknown = placement.toLookAt(this.#wanted()).flatMap((name) => nodes.get(name) ?? []);
      if (unknown.length === 0 || this.#over) return;
      const enough = workersOf(placement.plan(this.#wanted())) === this.#missing;
      const awaited = unknown.filter((node) => !enough || node.problem === undefined);
      const looks = unknown.map((node) => ({ node, look: node.look() }));
      if (awaited.length === 0) return;
      await Promise.all(looks.flatMap(({ node, look }) => (awaited.includes(node) ? look : [])));
    }
  }

  /** What is known may be old: asks some nodes themselves. */
  async #lookAgain(): Promise<void> {
    this.#looked = true;
    const { nodes, placement } = this.#cluster;
    placement.reconsider();
    const open = [...nodes.values()].filter((node) => node.open).map(({ name }) => name);
    await Promise.all(
      placement.sample(open, MAX_LOOKS_AT_ONCE).flatMap((name) => nodes.get(name)?.look() ?? []),
    );
  }

  async #waitForRoom(): Promise<void> {
    const hopeless = this.#cluster.hopeless();
    if (hopeless) throw hopeless;
    if (!this.#options.wait) throw this.#full();
    const now = this.#clock.nowMs();
    const { random } = this.#cluster;
    if (this.#gathered.length > 0 && now >= this.#letGoAtMs) {
      this.#holdAgainAtMs = now + HOLD_MS * (1 + random());
      await this.#giveBack();
    }
    const quiet = await this.#until(this.#cluster.news(), this.#backOffMs * (0.5 + random() / 2));
    if (!quiet) return;
    this.#backOffMs = Math.min(MAX_BACK_OFF_MS, this.#backOffMs * 2);
    this.#looked = false;
    for (const node of this.#cluster.nodes.values()) node.reconsider();
  }

  /** Waits for `change`, at most `limitMs`; returns whether it did not come. Throws when the time for the request is up. */
  async #until(change: Promise<void>, limitMs = Infinity): Promise<boolean> {
    const leftMs = this.#leftMs;
    if (leftMs <= 0) throw this.#full();
    const timer = Promise.withResolvers<true>();
    const inMs = Math.ceil(Math.min(leftMs, limitMs));
    const timeout = this.#clock.after(inMs, () => timer.resolve(true));
    try {
      return await Promise.race([change.then(() => false), timer.promise]);
    } finally {
      timeout.clear();
    }
  }

  async #askAll(asks: readonly Ask[]): Promise<void> {
    const { placement } = this.#cluster;
    const { memoryBytes } = this.#options;
    for (const ask of asks) placement.reserve(ask, memoryBytes, this.#coresPerWorker);
    await Promise.all(asks.map((ask) => this.#ask(ask)));
    if (this.#fatal !== undefined) throw this.#fatal;
    if (this.#letGoAtMs === Infinity && this.#gathered.length > 0)
      this.#letGoAtMs = this.#clock.nowMs() + HOLD_MS * (1 + this.#cluster.random());
  }

  async #ask(ask: Ask): Promise<void> {
    const { nodes, placement } = this.#cluster;
    const { memoryBytes } = this.#options;
    const node = nodes.get(ask.node);
    const settle = () => placement.settle(ask, memoryBytes, this.#coresPerWorker);
    if (!node) return settle();
    try {
      const lease = await node.allocate<Module>(this.#module, {
        ...this.#options.lease,
        memory: memoryBytes,
        workers: ask.workers,
        signal: this.#stopped.signal,
      });
      // What the node has free after the grant it says itself; until then the reservation stands for it.
      void node.look().finally(settle);
      if (this.#over) await lease.release();
      else this.#keep({ node, lease });
    } catch (error) {
      this.#refused(error);
      placement.refuse(node.name);
      if (node.open) await node.look();
      settle();
    }
  }

  /** Until there are all, some may be lost again. */
  #keep(one: Gathered<Module>): void {
    this.#gathered.push(one);
    const end = one.lease.on("lost", () => {
      end();
      if (!this.#gathered.includes(one) || this.#done) return;
      this.#gathered = this.#gathered.filter((other) => other !== one);
      this.#losses++;
      void one.lease.release();
    });
  }

  /** Another node may do better, unless the fault is the request's own. */
  #refused(error: unknown): void {
    if (error instanceof LeaseRefused || isOfNode(error)) return;
    const mishap = error instanceof LeaseLost || error instanceof ConnectionFailed;
    if (!mishap || ++this.#mishaps >= MAX_MISHAPS) this.#fatal ??= error;
  }

  async #giveBack(): Promise<void> {
    const gathered = this.#gathered;
    this.#gathered = [];
    this.#letGoAtMs = Infinity;
    if (gathered.length === 0) return;
    const released = Promise.all(
      gathered.map(async ({ node, lease }) => {
        await lease.release();
        await node.look();
      }),
    );
    const limit = Promise.withResolvers<void>();
    const timer = this.#clock.after(GIVE_BACK_LIMIT_MS, limit.resolve);
    await Promise.race([released, limit.promise]);
    timer.clear();
  }

  #full(): RfaasError {
    const all = [...this.#cluster.nodes.values()];
    const { workers, memoryBytes, timeoutMs, wait } = this.#options;
    const free = this.#cluster.placement.freeCores();
    const shown = all.slice(0, SHOWN_NODES).map(({ name, info, problem }) => {
      if (problem || info.state !== "up")
        return `${name} ${problem ? "cannot be used" : `is ${info.state}`}`;
      return `${name} has ${info.freeCores === undefined ? "? cores" : countOf(info.freeCores, "core")} and ${formatBytes(info.freeMemoryBytes ?? 0)}`;
    });
    const rest =
      all.length > SHOWN_NODES ? ` and ${countOf(all.length - SHOWN_NODES, "more node")}` : "";
    const waited = wait ? ` within ${timeoutMs} ms` : "";
    const lost =
      this.#losses === 0
        ? ""
        : `; ${countOf(this.#losses, "lease")} that it had ${this.#losses === 1 ? "was" : "were"} lost while it waited for the others: renew them, or choose a longer ttlMs`;
    const unusable = all.find((node) => node.problem);
    const problem = unusable?.problem;
    const why = problem ? `; ${unusable!.name}: ${problem.message}` : "";
    return new LeaseRefused(
      "RFAAS_CLUSTER_FULL",
      `the cluster had no room${waited} for ${countOf(workers, "worker")}${this.#coresPerWorker === 1 ? "" : ` of ${this.#coresPerWorker} cores`} in leases of ${formatBytes(memoryBytes)}: ${free === 1 ? "1 core is" : `${free} cores are`} free (${shown.join(", ") || "no node is known"}${rest})${why}${lost}; ask for less, wait longer with timeoutMs, or add nodes`,
      problem ? { cause: problem } : {},
    );
  }
}
