/**
 * One request for workers of a cluster, from the first look to the last grant: plans on what is known, asks several nodes at once,
 * keeps what is granted, and waits for room while there is too little. Ends with all workers, or with none.
 */
import { LAYOUT } from "../../../ffi/layout.ts";
import type { Clock } from "../../base/clock.ts";
import type { RfaasError } from "../../base/errors.ts";
import {
  type Ask,
  MAX_LOOKS_AT_ONCE,
  type PlacementPolicy,
  type Wanted,
} from "../../lease/placement.ts";
import { parseBytes } from "../../base/units.ts";
import type { KnownNodes } from "./known-nodes.ts";
import type { ClusterNode } from "./node.ts";
import type { PartLease } from "../lease/part.ts";
import type { AllocateOptions } from "../options/allocate-options.ts";
import { Places, type TakenOffer } from "./places.ts";
import { Refusals } from "./refusals.ts";
import type { Turn } from "./turns.ts";
import { LinkedSignal, throwIfAborted, untilAborted } from "../../base/waiting.ts";

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
/** When its time is up, a request may still try other nodes than those that have refused it. */
const OVERTIME_MS = 1000;
/** How long a request waits for a node to take leases back before it continues. */
const GIVE_BACK_LIMIT_MS = 2000;

const workersOf = (asks: readonly Ask[]): number =>
  asks.reduce((sum, { workers }) => sum + workers, 0);

export class Gathering<Module> {
  readonly #cluster: KnownNodes;
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
  /** Leases that were lost while others were awaited. */
  #losses = 0;
  #backOffMs = MIN_BACK_OFF_MS;
  /** Nodes were asked what they have free, since the last pause. */
  #looked = false;
  #letGoAtMs = Infinity;
  #holdAgainAtMs = 0;
  #waitedMs = 0;
  readonly #places: Places;
  readonly #refusals: Refusals;

  constructor(cluster: KnownNodes, module: string | URL, options: GatheringOptions) {
    this.#cluster = cluster;
    this.#clock = cluster.clock;
    this.#startedMs = cluster.clock.nowMs();
    this.#module = module;
    this.#options = options;
    const { workers, memoryBytes, maxNodes, timeoutMs, lease } = options;
    this.#places = new Places({
      ...{ nodes: cluster.nodes, random: () => cluster.random(), clock: cluster.clock },
      ...{ maxNodes, maxWorkersPerLease: LAYOUT.maxWorkers, coresPerWorker: this.#coresPerWorker },
      ...{ memoryBytes, heapBytes: lease.heap === undefined ? 0 : parseBytes(lease.heap, "heap") },
      ...{ startedMs: this.#startedMs, beganAtMs: cluster.began(), timeoutMs },
      refused: (error, node) => this.#refusals.heard(error, node),
    });
    this.#refusals = new Refusals(cluster, workers, this.#coresPerWorker, memoryBytes);
  }

  /** How long it has waited for room so far. */
  get waitedMs(): number {
    return this.#waitedMs;
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
      this.#places.end();
      turn.leave();
    }
  }

  get #coresPerWorker(): number {
    return this.#options.lease.coresPerWorker ?? 1;
  }

  get #missing(): number {
    return this.#gathered.reduce((left, { lease }) => left - lease.workers, this.#options.workers);
  }

  /** Workers for which there is neither a lease nor an offer. */
  get #unmet(): number {
    return Math.max(0, this.#missing - this.#places.offered);
  }

  async #gather(turn: Turn): Promise<Gathered<Module>[]> {
    while (this.#missing > 0 && !this.#over) {
      this.#refusals.throwFatal();
      // Where leases end sooner than others open, or nodes have gone without a word, there may always seem to be room.
      if (this.#leftMs <= (this.#losses > 0 ? 0 : -OVERTIME_MS)) throw this.#full();
      if (this.#isAtLimit) {
        await this.#waitForOwnLeases(turn);
        continue;
      }
      if (this.#unmet === 0) {
        await this.#askAll(this.#places.take(this.#missing));
        continue;
      }
      if (!turn.first) {
        await this.#queue(turn);
        continue;
      }
      await this.#lookAtUnknown();
      if (this.#unmet === 0) continue;
      const asks = this.#cluster.placement.plan(this.#wanted());
      if (workersOf(asks) === this.#unmet) {
        // What is planned is reserved: others may plan with the rest.
        const asked = this.#askAll([...this.#places.take(this.#missing), ...asks]);
        // What the user may hold cannot be reserved: a smaller request would take it from this one, again and again.
        if (!this.#cluster.ownLimit.why) turn.pause();
        await asked;
        turn.resume();
      } else if (!this.#looked) await this.#lookAgain();
      else if (this.#mayHold && asks.some((ask) => this.#hasNoLine(ask)))
        await this.#askAll(asks.filter((ask) => this.#hasNoLine(ask)));
      else {
        turn.wait();
        await this.#waitForRoom();
        turn.resume();
      }
    }
    this.#done = true;
    this.#cluster.ownLimit.passed();
    return this.#gathered;
  }

  /** A request that does not wait asks once, whatever others have heard. */
  get #isAtLimit(): boolean {
    return (this.#options.wait || this.#refusals.saidLimit) && this.#cluster.ownLimit.restMs > 0;
  }

  /** Waits for the user's other leases to end, without what others could use meanwhile. */
  async #waitForOwnLeases(turn: Turn): Promise<void> {
    const { ownLimit } = this.#cluster;
    this.#places.leaveAll();
    if (this.#gathered.length > 0) ownLimit.hadParts();
    await this.#giveBack();
    if (!this.#options.wait) throw this.#full();
    turn.wait();
    await this.#waiting(() => this.#until(ownLimit.freed(), ownLimit.restMs));
    turn.resume();
    this.#looked = false;
  }

  /** A node of a former version: a part there can only be held as a lease. */
  #hasNoLine({ node }: Ask): boolean {
    return this.#cluster.nodes.get(node)?.hasLine === false;
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
      workers: this.#unmet,
      coresPerWorker: this.#coresPerWorker,
      memoryBytes,
      placement,
      maxNodes,
      maxWorkersPerLease: LAYOUT.maxWorkers,
      held: new Set([...this.#gathered.map(({ node }) => node.name), ...this.#places.offering]),
      except: this.#places.names,
    };
  }

  /**
   * A request that is not first gives back the leases that it holds: the first may need exactly that. It waits at the nodes, too, once an
   * earlier one does, and leaves the search for room elsewhere to that one.
   */
  async #queue(turn: Turn): Promise<void> {
    await this.#giveBack();
    if (turn.first) return;
    const { behindWaiting } = turn;
    if (!this.#options.wait && behindWaiting) throw this.#full();
    if (this.#cluster.ownLimit.why) {
      // The first one asks for all of them.
      this.#places.leaveAll();
      const change = Promise.race([turn.comes(false), this.#cluster.ownLimit.freed()]);
      return void (await this.#waiting(() => this.#until(change)));
    }
    const stands = behindWaiting || this.#places.size > 0;
    if (stands) this.#places.fill(this.#missing);
    if (this.#unmet === 0) return;
    const wait = () => this.#until(Promise.race([turn.comes(!stands), this.#places.changed()]));
    await (stands ? this.#waiting(wait) : wait());
  }

  /** The request waits for a node that has failed before only where the other nodes do not suffice. */
  async #lookAtUnknown(): Promise<void> {
    const { nodes, placement } = this.#cluster;
    this.#cluster.review();
    for (;;) {
      const unknown = placement.toLookAt(this.#wanted()).flatMap((name) => nodes.get(name) ?? []);
      if (unknown.length === 0 || this.#over) return;
      const enough = workersOf(placement.plan(this.#wanted())) === this.#unmet;
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
    this.#cluster.ownLimit.passed();
    if (!this.#options.wait) throw this.#full();
    const now = this.#clock.nowMs();
    const { random, nodes } = this.#cluster;
    if (this.#gathered.length > 0 && now >= this.#letGoAtMs) {
      this.#holdAgainAtMs = now + HOLD_MS * (1 + random());
      await this.#giveBack();
    }
    const places = this.#places;
    places.fill(this.#missing);
    if (this.#unmet === 0) return;
    // A line tells when there is room; for nodes without one, or whose parts do not make a whole, the request looks from time to time.
    const mustLook =
      places.size === 0 ||
      places.offersAreWhole ||
      [...nodes.values()].some((node) => node.open && node.hasLine === false);
    const limitMs =
      mustLook || places.isShort
        ? this.#backOffMs * (0.5 + random() / 2)
        : this.#gathered.length > 0
          ? Math.max(1, this.#letGoAtMs - now)
          : Infinity;
    const released = this.#refusals.limited.length > 0 ? [this.#released()] : [];
    const change = Promise.race([this.#cluster.news(), places.changed(), ...released]);
    const quiet = await this.#waiting(() => this.#until(change, limitMs));
    if (!quiet) return;
    this.#backOffMs = Math.min(MAX_BACK_OFF_MS, this.#backOffMs * 2);
    if (mustLook) this.#looked = false;
    for (const node of nodes.values()) node.reconsider();
  }

  /** This program has given a lease back: nodes where the user held too much may be asked at once. */
  async #released(): Promise<void> {
    await this.#cluster.ownLimit.freed();
    for (const node of this.#refusals.limited) this.#places.mayJoin(node);
  }

  async #waiting<T>(wait: () => Promise<T>): Promise<T> {
    const sinceMs = this.#clock.nowMs();
    try {
      return await wait();
    } finally {
      this.#waitedMs += this.#clock.nowMs() - sinceMs;
    }
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

  async #askAll(asks: readonly (Ask & Partial<TakenOffer>)[]): Promise<void> {
    const { placement } = this.#cluster;
    const { memoryBytes } = this.#options;
    for (const ask of asks) placement.reserve(ask, memoryBytes, this.#coresPerWorker);
    await Promise.all(asks.map((ask) => this.#ask(ask)));
    this.#refusals.throwFatal();
    if (this.#letGoAtMs === Infinity && this.#gathered.length > 0)
      this.#letGoAtMs = this.#clock.nowMs() + HOLD_MS * (1 + this.#cluster.random());
  }

  async #ask(ask: Ask & Partial<TakenOffer>): Promise<void> {
    const { nodes, placement } = this.#cluster;
    const { memoryBytes } = this.#options;
    const node = nodes.get(ask.node);
    const settle = () => placement.settle(ask, memoryBytes, this.#coresPerWorker);
    if (!node) return settle();
    try {
      const { workers, offer } = ask;
      const lease = await node.allocate<Module>(
        this.#module,
        { ...this.#options.lease, memory: memoryBytes, workers, signal: this.#stopped.signal },
        offer,
      );
      // What the node has free after the grant it says itself; until then the reservation stands for it.
      void node.look().finally(settle);
      this.#refusals.granted(node.name);
      if (this.#over) await lease.release();
      else this.#keep({ node, lease });
    } catch (error) {
      const of = this.#refusals.heard(error, node.name);
      if (of !== "cluster") placement.refuse(node.name);
      ask.offer?.pass();
      if (ask.offer || of === "limit") this.#places.avoid(node.name, error);
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
    return this.#cluster.hopeless() ?? this.#refusals.full(this.#options, this.#losses);
  }
}
