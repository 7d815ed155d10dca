/** The stations of a map: as many as calls may be in flight, spread over the workers, moved away from workers that are lost. */
import type { MapItem } from "./item.ts";
import { Station, type StationOwner } from "./station.ts";
import { Ring } from "./ring.ts";
import type { LeaseCore } from "../calls/submission.ts";
import type { WorkerLane } from "../calls/worker-lane.ts";

interface Place {
  readonly lease: LeaseCore;
  readonly lane: WorkerLane;
  readonly fn: number;
  /** Stations there. */
  count: number;
}

export class Stations<Value, Result> {
  #loss: unknown;
  /** Leases that take no calls any more, and why. */
  readonly #left = new Map<LeaseCore, unknown>();
  readonly #owner: StationOwner<Value, Result>;
  readonly #limits: { deadlineMs: number; durationMs: number };
  readonly #concurrency: number;
  readonly #places: Place[];
  readonly #all = new Set<Station<Value, Result>>();
  readonly #free: Ring<Station<Value, Result>>;

  /** Throws {@link NoSuchFunction}, or {@link LeaseLost} when a lease was released. */
  constructor(
    owner: StationOwner<Value, Result>,
    leases: readonly LeaseCore[],
    name: string,
    terms: { concurrency: number; deadlineMs: number; durationMs: number },
  ) {
    this.#owner = owner;
    this.#limits = terms;
    this.#concurrency = terms.concurrency;
    const width = Math.max(...leases.map(({ lanes }) => lanes.length));
    this.#places = Array.from({ length: width }, (_, i) =>
      leases.flatMap((lease) => {
        const lane = lease.lanes[i];
        return lane ? [{ lease, lane, fn: lease.functions.indexOf(name), count: 0 }] : [];
      }),
    ).flat();
    this.#free = new Ring(terms.concurrency);
    for (let i = 0; i < terms.concurrency; i++) if (!this.#add(undefined)) break;
  }

  /** All that there are, free or not. */
  get size(): number {
    return this.#all.size;
  }

  /** Why there are none left. */
  get loss(): unknown {
    return this.#loss ?? this.#places.find(({ lane }) => lane.lost)?.lane.lost;
  }

  [Symbol.iterator](): IterableIterator<Station<Value, Result>> {
    return this.#all[Symbol.iterator]();
  }

  /**
   * A free one, for an item that failed elsewhere: on another worker, if there is one; for one whose buffers lie somewhere: there.
   * Undefined when it must be waited for.
   */
  take(item: MapItem<Value, Result> | undefined): Station<Value, Result> | undefined {
    if (item?.home !== undefined) return this.#takeAt(item.home, item.failedOn);
    for (let left = this.#free.length; left > 0; left--) {
      const station = this.#free.shift()!;
      if (station.lane.lost !== undefined) {
        this.#loss = station.lane.lost;
        this.#move(station, undefined);
        left++;
      } else if (item?.failedOn !== station.lane) return station;
      else this.#free.push(station);
      if (this.#free.length === 0) break;
    }
    const only = this.#free.first;
    if (only === undefined) return undefined;
    // Every free station is on the worker where the item failed.
    const others = this.#places.filter(({ lane }) => lane !== only.lane && !lane.lost);
    if (others.length === 0) return this.#free.shift();
    if (others.some(({ count }) => count > 0)) return undefined;
    this.#free.shift();
    this.#move(only, only.lane);
    return this.take(item);
  }

  /** Why no call can be made with buffers that lie there, if none can. */
  lossAt(home: LeaseCore): unknown {
    const isLost = home.lanes.every(({ lost }) => lost !== undefined);
    return isLost ? home.lanes[0]!.lost : this.#left.get(home);
  }

  giveBack(station: Station<Value, Result>): void {
    if (this.#all.has(station)) this.#free.push(station);
  }

  /** Removes a station that has no memory, or whose lease takes no calls. Returns whether others remain. */
  retire(station: Station<Value, Result>): boolean {
    this.#remove(station);
    return this.#all.size > 0;
  }

  /** No more calls for a lease that is about to end. Returns whether there are other leases. */
  leave(lease: LeaseCore, why: unknown): boolean {
    this.#loss = why;
    this.#left.set(lease, why);
    for (let i = this.#places.length - 1; i >= 0; i--)
      if (this.#places[i]!.lease === lease) this.#places.splice(i, 1);
    for (let left = this.#free.length; left > 0; left--) {
      const station = this.#free.shift()!;
      if (station.lease === lease) this.#move(station, undefined);
      else this.#free.push(station);
    }
    return this.#places.some(({ lane }) => lane.lost === undefined);
  }

  /** Workers have come: stations go there, as many as were lost with others. */
  join(lease: LeaseCore, name: string): void {
    const fn = lease.functions.indexOf(name);
    for (const lane of lease.lanes) this.#places.push({ lease, lane, fn, count: 0 });
    while (this.#all.size < this.#concurrency && this.#add(undefined));
  }

  close(): void {
    for (const station of this.#all) station.close();
    this.#all.clear();
  }

  #takeAt(home: LeaseCore, failedOn: WorkerLane | undefined): Station<Value, Result> | undefined {
    const alive = home.lanes.filter(({ lost }) => lost === undefined);
    const lanes = alive.length > 1 ? alive.filter((lane) => lane !== failedOn) : alive;
    for (let left = this.#free.length; left > 0; left--) {
      const station = this.#free.shift()!;
      if (lanes.includes(station.lane)) return station;
      this.#free.push(station);
    }
    const isThere = (station: Station<Value, Result>) => lanes.includes(station.lane);
    if (this.#all.values().some(isThere)) return undefined;
    // No station is there at all: a free one moves.
    const spare = this.#free.shift();
    if (spare === undefined) return undefined;
    this.#remove(spare);
    if (!this.#add(undefined, lanes)) return undefined;
    return this.#takeAt(home, failedOn);
  }

  /** Where there are fewest, of all lanes or of these. Returns whether there is any worker left. */
  #add(besides: WorkerLane | undefined, lanes?: readonly WorkerLane[]): boolean {
    const open = this.#places.filter(
      ({ lane, lease, count }) =>
        lane.lost === undefined &&
        lane !== besides &&
        count < lease.slots &&
        (lanes === undefined || lanes.includes(lane)),
    );
    const place = open.reduce<Place | undefined>(
      (best, each) => (best === undefined || each.count < best.count ? each : best),
      undefined,
    );
    if (place === undefined) return false;
    place.count++;
    const station = new Station(this.#owner, place.lease, place.lane, place.fn, this.#limits);
    this.#all.add(station);
    this.#free.push(station);
    return true;
  }

  #move(station: Station<Value, Result>, besides: WorkerLane | undefined): void {
    this.#remove(station);
    this.#add(besides);
  }

  #remove(station: Station<Value, Result>): void {
    station.close();
    this.#all.delete(station);
    const place = this.#places.find(({ lane }) => lane === station.lane);
    if (place) place.count--;
  }
}
