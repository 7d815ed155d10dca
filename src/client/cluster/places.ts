/**
 * Where a request waits for room: it has a place in line at about two nodes for each worker that it wants. The node that has room first asks
 * it; the request takes what it is offered as soon as that makes all its workers, and leaves the other lines. What is only a part of that it
 * holds for a bounded time, and gives back then, or when an older request needs it: two that each hold what the other needs would
 * never end.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { LeaseRefused } from "../../base/errors.ts";
import type { ClusterNode, RoomOffer } from "./node.ts";

/** A request as nodes hear of it. */
export interface PlacesOptions {
  nodes: ReadonlyMap<string, ClusterNode>;
  random: () => number;
  clock: Clock;
  coresPerWorker: number;
  /** Registered memory of each lease, */
  memoryBytes: number;
  /** and the heap that it asks for. */
  heapBytes: number;
  maxNodes: number;
  maxWorkersPerLease: number;
  startedMs: number;
  /** By the wall clock. */
  beganAtMs: number;
  timeoutMs: number;
  /** A node does not let it wait; throws when another would not either. */
  refused(error: unknown, node: string): void;
}

/** What a node has offered, and is taken with a lease. */
export interface TakenOffer {
  node: string;
  workers: number;
  offer: RoomOffer;
}

/** Twice as many lines as workers: the shortest one counts. */
const LINES_PER_WORKER = 2;
const MAX_LINES = 128;
/** For how long parts are held at first, randomized up to twice as long; twice as long each time. */
const HOLD_MS = 500;
const MAX_HOLD_MS = 16_000;
/** A node holds what it offers for longer, as messages take time. */
const GRACE_MS = 2_000;
/** Before a line is joined again in which an offer was passed, randomized up to twice as long. */
const REST_MS = 100;
/** And in which the request was refused; twice as long each time. */
const MAX_REST_MS = 5_000;
/** Where the user's own leases are too many there. */
const MAX_REST_AT_LIMIT_MS = 1_000;

/** A place in a node's line. */
interface Place {
  readonly node: ClusterNode;
  /** Ends the wait. */
  readonly stop: AbortController;
  /** What the node has offered so far. */
  offer: RoomOffer | undefined;
  /** The node may offer more. */
  stands: boolean;
}

export class Places {
  readonly #options: PlacesOptions;
  /** By the node's name. */
  readonly #places = new Map<string, Place>();
  readonly #resting = new Map<string, Timer>();
  readonly #refusals = new Map<string, number>();
  #wanted = 0;
  #holdMs: number;
  #holding: Timer | undefined;
  #changed = Promise.withResolvers<void>();
  #over = false;

  constructor(options: PlacesOptions) {
    this.#options = options;
    this.#holdMs = this.#randomized(HOLD_MS);
  }

  /** Workers for which there are offers. */
  get offered(): number {
    let workers = 0;
    for (const { offer } of this.#places.values()) workers += offer?.workers ?? 0;
    return workers;
  }

  /** Nodes that ask by themselves, or are not to be asked for a while. */
  get names(): ReadonlySet<string> {
    return new Set([...this.#places.keys(), ...this.#resting.keys()]);
  }

  /** Nodes of which it has offers. */
  get offering(): string[] {
    return [...this.#places.values()].flatMap(({ node, offer }) => (offer ? [node.name] : []));
  }

  /** Each line is asked for a share of its own, so that few nodes make all: other shares would do as well, and come without a word. */
  get offersAreWhole(): boolean {
    const { maxNodes } = this.#options;
    return maxNodes > 1 && maxNodes < this.#wanted;
  }

  /** In how many lines it stands. */
  get size(): number {
    let standing = 0;
    for (const { stands } of this.#places.values()) if (stands) standing++;
    return standing;
  }

  /** Whether it stands in fewer lines than it wants, and there are nodes that cannot be asked now. */
  get isShort(): boolean {
    if (this.#linesMissing <= 0) return false;
    return [...this.#options.nodes.values()].some(
      (node) => !node.open && !node.hopeless && !this.#places.has(node.name),
    );
  }

  /** Resolves at the next offer, and when there may be another line to join. */
  changed(): Promise<void> {
    return this.#changed.promise;
  }

  /** Joins lines for `workers`, of which some may be offered already. */
  fill(workers: number): void {
    // Nodes were asked for less, and would offer less: the request has given leases back, or lost them.
    if (workers > this.#wanted) this.leaveAll();
    this.#wanted = workers;
    const count = this.#linesMissing;
    if (count <= 0 || this.#over) return;
    const open = [...this.#options.nodes.values()].filter((node) => this.#mayStandAt(node));
    for (const node of this.#shuffled(open).slice(0, count)) void this.#standAt(node);
  }

  /** Takes what is offered, `workers` at most; leaves all lines. The rest goes back to the nodes. */
  take(workers: number): TakenOffer[] {
    const taken: TakenOffer[] = [];
    let left = workers;
    for (const [name, { offer }] of this.#places) {
      if (!offer || left === 0) continue;
      const count = Math.min(offer.workers, left);
      taken.push({ node: name, workers: count, offer });
      left -= count;
      // Its place ends with the offer.
      this.#places.delete(name);
    }
    this.leaveAll();
    return taken;
  }

  /** The node has refused, or its offer could not be taken: it is left alone for a while. */
  avoid(name: string, why: unknown): void {
    // The user's other leases may end at any time, and no line tells.
    const ofUser = why instanceof LeaseRefused && why.limit?.passes;
    const mostMs = ofUser ? MAX_REST_AT_LIMIT_MS : MAX_REST_MS;
    const refusals = this.#refusals.get(name) ?? 0;
    this.#refusals.set(name, refusals + 1);
    this.#rest(name, Math.min(mostMs, REST_MS * 2 ** refusals));
  }

  /** The node's line may be joined again. */
  mayJoin(name: string): void {
    this.#resting.get(name)?.clear();
    this.#resting.delete(name);
    this.#refusals.delete(name);
  }

  /** Leaves all lines, and passes all offers; it may join some again. */
  leaveAll(): void {
    this.#stopHolding();
    for (const place of this.#places.values()) this.#leave(place);
  }

  /** Leaves all lines, and passes all offers. */
  end(): void {
    this.#over = true;
    this.leaveAll();
    for (const timer of this.#resting.values()) timer.clear();
    this.#resting.clear();
  }

  /** Where there was an offer, there is hardly more. */
  get #linesMissing(): number {
    let without = 0;
    for (const { offer } of this.#places.values()) if (!offer) without++;
    const wanted = LINES_PER_WORKER * Math.max(0, this.#wanted - this.offered);
    return Math.min(MAX_LINES, wanted) - without;
  }

  #mayStandAt({ open, hasLine, name, info }: ClusterNode): boolean {
    if (!open || hasLine === false || this.#places.has(name) || this.#resting.has(name))
      return false;
    return (info.cores ?? Infinity) >= this.#options.coresPerWorker;
  }

  async #standAt(node: ClusterNode): Promise<void> {
    const { clock, startedMs, timeoutMs, coresPerWorker, maxNodes } = this.#options;
    const { memoryBytes, heapBytes, beganAtMs } = this.#options;
    const workers = Math.min(this.#options.maxWorkersPerLease, this.#wanted - this.offered);
    const atLeast = Math.ceil(workers / maxNodes) || 1;
    const waitedMs = clock.nowMs() - startedMs;
    const leftMs = Math.ceil(timeoutMs - waitedMs);
    if (workers <= 0 || leftMs <= 0) return;
    const isPart = atLeast < this.#wanted;
    const place: Place = { node, stop: new AbortController(), offer: undefined, stands: true };
    this.#places.set(node.name, place);
    const isOver = (): boolean => this.#places.get(node.name) !== place;
    try {
      const hasLine = await node.waitInLine(
        {
          ...{ workers, atLeast, coresPerWorker, memoryBytes, heapBytes, isPart },
          ...{ waitedMs, beganAtMs },
          ...{ waitMs: leftMs, holdMs: GRACE_MS + (isPart ? MAX_HOLD_MS : 0) },
          offered: (offer) => {
            if (isOver()) return;
            place.offer = offer;
            this.#refusals.delete(node.name);
            this.#hold();
          },
          recalled: () => {
            // What it holds may have come to all that it wants meanwhile.
            if (isOver() || this.offered >= this.#wanted) return;
            this.#giveUp(place);
            this.#tell();
          },
        },
        place.stop.signal,
      );
      place.stands = false;
      if (!hasLine && !isOver()) this.#places.delete(node.name);
    } catch (error) {
      // The request has left the line, or has taken what it was offered.
      if (isOver()) return;
      this.#leave(place);
      this.avoid(node.name, error);
      this.#options.refused(error, node.name);
    }
    this.#tell();
  }

  /** There is an offer more, which is held until there are enough, and not for ever. */
  #hold(): void {
    this.#tell();
    if (this.offered >= this.#wanted) return;
    this.#holding ??= this.#options.clock.after(this.#holdMs, () => {
      this.#holdMs = Math.min(MAX_HOLD_MS, this.#randomized(2 * this.#holdMs));
      for (const place of this.#places.values()) if (place.offer) this.#giveUp(place);
      this.#stopHolding();
      this.#tell();
    });
  }

  /** What it passes there must not come back at once. */
  #giveUp(place: Place): void {
    this.#leave(place);
    this.#rest(place.node.name, this.#randomized(REST_MS));
  }

  #leave({ node, stop, offer }: Place): void {
    this.#places.delete(node.name);
    stop.abort();
    offer?.pass();
  }

  #stopHolding(): void {
    this.#holding?.clear();
    this.#holding = undefined;
  }

  #rest(name: string, restMs: number): void {
    if (this.#over) return;
    this.#resting.get(name)?.clear();
    const timer = this.#options.clock.after(restMs, () => {
      this.#resting.delete(name);
      this.#tell();
    });
    this.#resting.set(name, timer);
  }

  #tell(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    resolve();
  }

  #randomized(ms: number): number {
    return ms * (1 + this.#options.random());
  }

  #shuffled<T>(list: readonly T[]): T[] {
    const left = [...list];
    const shuffled: T[] = [];
    while (left.length > 0) {
      const at = Math.min(left.length - 1, Math.floor(this.#options.random() * left.length));
      shuffled.push(left.splice(at, 1)[0]!);
    }
    return shuffled;
  }
}
