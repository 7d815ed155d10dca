/** Who waits for room at one node and what it has offered: a second, plainer account of the order in which it serves. */
import type { Share } from "../../src/lease/capacity.ts";
import type { Socket } from "./network.ts";
import { MS, violated } from "./world.ts";

/** A place in line as its client has asked for it. */
export interface PlaceSeen {
  client: Socket;
  id: number;
  user: string;
  weight: number;
  /** When it came, by the one clock of the simulation, */
  atNs: number;
  /** how long its client had waited then, */
  waitedMs: number;
  /** and since when, by its own word. */
  beganAtMs: number;
  /** It is one of several parts that its client needs at once. */
  isPart: boolean;
  /** That it was not offered yet. */
  workers: number;
  atLeast: number;
  coresPerWorker: number;
  memoryBytes: number;
  holdMs: number;
  /** By when it is refused. */
  untilNs: number;
  /** By when it has taken what it was offered, or passed. */
  heldUntilNs?: number;
  /** Since when it waits, to compare it with others. */
  orderNs?: number;
}

/** A part of what a place was offered. */
interface OfferSeen {
  place: PlaceSeen;
  share: Share;
  use: UseSeen;
}

/** Cores of a user, and how long requests had waited when it got them. */
export interface UseSeen {
  user: string;
  cores: number;
  fromNs: number;
  /** It may not use them yet, and they count as little. */
  offered: boolean;
}

interface UserSeen {
  weight: number;
  /** Of uses that are over, for its weight. */
  hadNs: number;
  uses: Set<UseSeen>;
}

/** How late an offer or a place may end after its bound, by its node's own clock. */
const LATENESS_LIMIT_NS = 20 * MS;
/** As the node has it, or else two that come free together would go to one user. */
const LEAST_NS = 10 * MS;
const MOST_LEAD_NS = 600e9;
/** What a client says may be so far from what the node has seen. */
const MOST_SKEW_NS = 5_000 * MS;
/** How differently clocks of the simulation go. */
const DRIFT_NS = 20 * MS;
/** What a client has asked for so soon after something else that it may be a network's or a timer's doing. */
const TOGETHER_NS = 100 * MS;
/** Of core-nanoseconds: these are sums of large numbers. */
const ROUNDING = 1e3;

export class LineWitness {
  readonly name: string;
  readonly #places = new Set<PlaceSeen>();
  readonly #offers = new Set<OfferSeen>();
  readonly #users = new Map<string, UserSeen>();
  /** Since when the last request of each client waits. */
  readonly #lastSinceNs = new WeakMap<Socket, number>();
  /** For whom something is wanted back. */
  #preferred: PlaceSeen | undefined;
  #floorNs = 0;
  #contendedNs = 0;
  #seenNs = 0;

  constructor(name: string) {
    this.name = name;
  }

  get heldCores(): number {
    let cores = 0;
    for (const { share } of this.#offers) cores += share.cpus.length;
    return cores;
  }

  get heldBytes(): number {
    let bytes = 0;
    for (const { share } of this.#offers) bytes += share.memoryBytes;
    return bytes;
  }

  /** The agent is dead. */
  reset(): void {
    this.#places.clear();
    this.#offers.clear();
    this.#users.clear();
    this.#preferred = undefined;
    this.#floorNs = 0;
  }

  joins(place: PlaceSeen, nowNs: number): void {
    this.#tick(nowNs);
    const others = this.#waits(place.user);
    const user = this.#user(place.user);
    user.weight = place.weight;
    if (!others) {
      const had = this.#had(user);
      const most = this.#floorNs + MOST_LEAD_NS / user.weight;
      user.hadNs += Math.min(Math.max(had, this.#floorNs), most) - had;
    }
    place.orderNs = this.#orderOf(place);
    this.#places.add(place);
  }

  /** Offers that younger requests hold a part by are wanted back for the oldest that waits for one. */
  recalls(nowNs: number): void {
    // The refusal of one whose time is over is under way.
    const parts = [...this.#places].filter(({ isPart, untilNs }) => isPart && untilNs > nowNs);
    this.#preferred = parts.toSorted((one, other) => one.orderNs! - other.orderNs!)[0];
  }

  /** It was refused, or its time is over, or its client has left it. */
  leaves(place: PlaceSeen, nowNs: number): void {
    this.#tick(nowNs);
    this.#forget(place);
  }

  offered(
    place: PlaceSeen,
    { share, workers }: { share: Share; workers: number },
    nowNs: number,
  ): void {
    this.#tick(nowNs);
    if (!place.client.open) violated(`${this.name} offers room to a client that is gone`);
    if (!this.#places.has(place)) violated(`${this.name} offers room to one who does not wait`);
    const own = this.#user(place.user);
    const had = this.#had(own);
    const preferred = this.#preferred;
    for (const other of this.#places) {
      // Its refusal is under way.
      if (other.untilNs <= nowNs || preferred === place) continue;
      if (preferred === other)
        violated(`${this.name} offers ${place.user} what it wanted back for ${other.user}`);
      // It has the turn once its time is over.
      if (preferred) continue;
      if (other.user === place.user) {
        if (isOlder(other, place))
          violated(`${this.name} serves a request of ${place.user} before an older one`);
      } else if (this.#had(this.#user(other.user)) + ROUNDING < had)
        violated(`${this.name} serves ${place.user}, and it is the turn of ${other.user}`);
    }
    if (preferred !== place) this.#floorNs = Math.max(this.#floorNs, had);
    else this.#preferred = undefined;
    const use = this.takes(place, share.cpus.length, nowNs, true);
    this.#offers.add({ place, share, use });
    place.heldUntilNs ??= nowNs + place.holdMs * MS;
    place.workers -= workers;
    place.atLeast = 1;
    place.memoryBytes = 0;
    if (place.workers === 0) this.#forget(place);
  }

  /** A user has cores. */
  takes(
    { user, weight }: Pick<PlaceSeen, "user" | "weight">,
    cores: number,
    nowNs: number,
    offered = false,
  ): UseSeen {
    this.#tick(nowNs);
    const use = { user, cores, offered, fromNs: this.#contendedNs };
    const own = this.#user(user);
    // One that comes anew is not behind.
    if (own.uses.size === 0 && !this.#waits(user)) own.hadNs = Math.max(own.hadNs, this.#floorNs);
    own.weight = weight;
    own.uses.add(use);
    return use;
  }

  gives(use: UseSeen, nowNs: number): void {
    this.#tick(nowNs);
    const user = this.#user(use.user);
    if (!user.uses.delete(use)) return;
    user.hadNs += ((this.#contendedNs - use.fromNs) * use.cores) / user.weight;
  }

  /** The node says that the room is free again. */
  letGo(share: Share, nowNs: number): void {
    const offer = [...this.#offers].find((one) => one.share === share);
    if (!offer) violated(`${this.name} lets room go that it had offered to nobody`);
    this.#offers.delete(offer);
    this.#forget(offer.place);
    this.gives(offer.use, nowNs);
  }

  /** The client is gone, or does not want this any more. */
  left(client: Socket, nowNs: number, id?: number): void {
    for (const place of this.#places)
      if (place.client === client && (id === undefined || place.id === id))
        this.leaves(place, nowNs);
  }

  /** The client is gone, or has passed this offer: nothing is held for it. */
  checkLeft(client: Socket, id?: number): void {
    for (const { place } of this.#offers)
      if (place.client === client && (id === undefined || place.id === id))
        violated(`${this.name} still holds room for one who has passed`);
  }

  /** Whether an offer is held, or a place kept, for longer than its client may; `awakeSinceNs` is when the node last could not run. */
  inspect(nowNs: number, awakeSinceNs: number): void {
    for (const { place } of this.#offers)
      if (nowNs > Math.max(place.heldUntilNs!, awakeSinceNs) + LATENESS_LIMIT_NS)
        violated(`${this.name} holds room for ${place.user} beyond its bound`);
    for (const { untilNs, user } of this.#places)
      if (nowNs > Math.max(untilNs, awakeSinceNs) + LATENESS_LIMIT_NS)
        violated(`${this.name} keeps a place of ${user} beyond its time`);
  }

  /** None wait while there is room for whichever of them is first. */
  check(freeCores: number, freeBytes: number, nowNs: number): void {
    let waiting = 0;
    for (const { atLeast, coresPerWorker, memoryBytes, untilNs } of this.#places) {
      // One whose time is over may still be first: timers are a little late.
      if (atLeast * coresPerWorker > freeCores || memoryBytes > freeBytes) return;
      if (untilNs > nowNs) waiting++;
    }
    if (waiting > 0) violated(`${this.name} has ${freeCores} cores free, and ${waiting} wait`);
  }

  /** A client has got room that was not offered to it: then no client waits. */
  checkPassed(nowNs: number): void {
    for (const { untilNs, user } of this.#places)
      if (untilNs > nowNs) violated(`${this.name} grants a lease past ${user}, who waits in line`);
  }

  #forget(place: PlaceSeen): void {
    this.#places.delete(place);
    if (this.#preferred === place) this.#preferred = undefined;
  }

  #orderOf(place: PlaceSeen): number {
    if (isBelieved(place)) return place.beganAtMs * MS;
    // What a client sends one after the other it gets in that order.
    const { client, atNs, waitedMs } = place;
    const sinceNs = atNs - waitedMs * MS;
    const lastNs = this.#lastSinceNs.get(client) ?? -Infinity;
    const orderNs = lastNs - sinceNs < TOGETHER_NS ? Math.max(lastNs, sinceNs) : sinceNs;
    this.#lastSinceNs.set(client, orderNs);
    return orderNs;
  }

  #waits(user: string): boolean {
    for (const place of this.#places) if (place.user === user) return true;
    return false;
  }

  #had({ hadNs, uses, weight }: UserSeen): number {
    let coreNs = 0;
    for (const { cores, offered, fromNs } of uses)
      coreNs += cores * (offered ? LEAST_NS : Math.max(LEAST_NS, this.#contendedNs - fromNs));
    return hadNs + coreNs / weight;
  }

  #user(name: string): UserSeen {
    let user = this.#users.get(name);
    if (!user) {
      user = { weight: 1, hadNs: this.#floorNs, uses: new Set() };
      this.#users.set(name, user);
    }
    return user;
  }

  #tick(nowNs: number): void {
    if (this.#places.size > 0) this.#contendedNs += nowNs - this.#seenNs;
    this.#seenNs = nowNs;
  }
}

const isBelieved = ({ atNs, waitedMs, beganAtMs }: PlaceSeen): boolean =>
  Math.abs(beganAtMs * MS - (atNs - waitedMs * MS)) <= MOST_SKEW_NS;

const isOlder = (one: PlaceSeen, other: PlaceSeen): boolean =>
  one.orderNs! < other.orderNs! - (isBelieved(one) && isBelieved(other) ? 0 : DRIFT_NS);
