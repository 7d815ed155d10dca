/**
 * Which nodes to ask for how many workers. Pure: what is known of the nodes comes in, requests come out, chance is a function that
 * is given. The nodes decide; a plan only says whom to ask, and never asks a node for more than it is known to have.
 */

/** What is known of a node; undefined where nothing is. */
export interface NodeCapacity {
  name: string;
  freeCores: number | undefined;
  freeMemoryBytes: number | undefined;
  /** Whether it grants leases at all, as far as is known. */
  open: boolean;
}

/**
 * `"spread"`: worker by worker, each to the emptier of two nodes chosen at random. `"pack"`: the fullest node that has room for
 * all of them, else the emptiest ones, so that few nodes are touched.
 */
export type PlacementPolicy = "spread" | "pack";

export interface Wanted {
  workers: number;
  /** Default 1. */
  coresPerWorker?: number;
  /** Of each lease. */
  memoryBytes: number;
  placement: PlacementPolicy;
  /** The most nodes that all leases together may be on. */
  maxNodes: number;
  /** The most workers of one lease. */
  maxWorkersPerLease: number;
  /** Nodes on which leases are held already; they count among `maxNodes`. */
  held: ReadonlySet<string>;
  /** Nodes that are not asked. Default: none. */
  except?: ReadonlySet<string>;
}

/** One lease to ask a node for. */
export interface Ask {
  node: string;
  workers: number;
}

/** At random among [0, 1). */
export type RandomSource = () => number;

/** Nodes of which nothing is known are looked at so many at a time. */
export const MAX_LOOKS_AT_ONCE = 16;
/** Two choices need twice as many cores to choose from. */
const CHOICE_FACTOR = 2;

interface Entry {
  known: NodeCapacity;
  /** Asked for and not yet in what is known. */
  reservedCores: number;
  reservedMemoryBytes: number;
  /** It has refused, and has reported no change since. */
  refused: boolean;
}

/** Room on a node while a plan is made. */
interface Room {
  name: string;
  /** For so many workers. */
  workers: number;
  planned: number;
}

export class Placement {
  readonly #entries = new Map<string, Entry>();
  readonly #random: RandomSource;

  constructor(random: RandomSource) {
    this.#random = random;
  }

  /** Takes note of a node. Returns whether that was news; after news, a plan may ask a node again that has refused. */
  learn(known: NodeCapacity): boolean {
    const entry = this.#entries.get(known.name);
    if (!entry) {
      this.#entries.set(known.name, {
        known,
        reservedCores: 0,
        reservedMemoryBytes: 0,
        refused: false,
      });
      return true;
    }
    const before = entry.known;
    const news =
      before.freeCores !== known.freeCores ||
      before.freeMemoryBytes !== known.freeMemoryBytes ||
      before.open !== known.open;
    entry.known = known;
    if (news) entry.refused = false;
    return news;
  }

  forget(name: string): void {
    this.#entries.delete(name);
  }

  /** The node has refused: plans leave it out until there is news of it, or {@link reconsider}. */
  refuse(name: string): void {
    const entry = this.#entries.get(name);
    if (entry) entry.refused = true;
  }

  /** Lets all nodes be asked again. */
  reconsider(): void {
    for (const entry of this.#entries.values()) entry.refused = false;
  }

  /** Reserves the requested capacity, which other plans leave out until {@link settle}. */
  reserve({ node, workers }: Ask, memoryBytes: number, coresPerWorker = 1): void {
    const entry = this.#entries.get(node);
    if (!entry) return;
    entry.reservedCores += workers * coresPerWorker;
    entry.reservedMemoryBytes += memoryBytes;
  }

  /** Drops a reservation: the node's report now includes it, or the node has refused it. */
  settle({ node, workers }: Ask, memoryBytes: number, coresPerWorker = 1): void {
    const entry = this.#entries.get(node);
    if (!entry) return;
    entry.reservedCores = Math.max(0, entry.reservedCores - workers * coresPerWorker);
    entry.reservedMemoryBytes = Math.max(0, entry.reservedMemoryBytes - memoryBytes);
  }

  /** Nodes to learn more of before planning: some of the unknown ones, when the known ones leave too little choice. */
  toLookAt(wanted: Wanted): string[] {
    const known = workersIn(this.#rooms(wanted));
    if (known >= CHOICE_FACTOR * wanted.workers) return [];
    const unknown = [...this.#entries.values()]
      .filter(({ known, refused }) => known.open && !refused && known.freeCores === undefined)
      .map(({ known }) => known.name);
    return this.sample(unknown, MAX_LOOKS_AT_ONCE);
  }

  /** Up to `count` of the names, at random. */
  sample(names: readonly string[], count: number): string[] {
    const left = [...names];
    const chosen: string[] = [];
    while (chosen.length < count && left.length > 0)
      chosen.push(left.splice(this.#below(left.length), 1)[0]!);
    return chosen;
  }

  /** Leases to ask for now: as many of the workers as the nodes are known to have room for, never more than wanted. */
  plan(wanted: Wanted): Ask[] {
    const rooms = this.#within(wanted);
    if (wanted.placement === "pack") pack(rooms, wanted.workers);
    else this.#spread(rooms, wanted.workers);
    return rooms.flatMap(({ name, planned }) => split(name, planned, wanted.maxWorkersPerLease));
  }

  /** Cores that are known to be free and not reserved, on all nodes. */
  freeCores(): number {
    let free = 0;
    for (const { known, reservedCores } of this.#entries.values())
      if (known.open) free += Math.max(0, (known.freeCores ?? 0) - reservedCores);
    return free;
  }

  #rooms({ memoryBytes, maxWorkersPerLease, coresPerWorker = 1, except }: Wanted): Room[] {
    const rooms: Room[] = [];
    for (const { known, reservedCores, reservedMemoryBytes, refused } of this.#entries.values()) {
      if (!known.open || refused || known.freeCores === undefined) continue;
      if (except?.has(known.name)) continue;
      const memory = (known.freeMemoryBytes ?? Infinity) - reservedMemoryBytes;
      const leases = memoryBytes > 0 ? Math.max(0, Math.floor(memory / memoryBytes)) : Infinity;
      const byCores = Math.floor((known.freeCores - reservedCores) / coresPerWorker);
      const workers = Math.min(byCores, leases * maxWorkersPerLease);
      if (workers > 0) rooms.push({ name: known.name, workers, planned: 0 });
    }
    return rooms;
  }

  /** The nodes that may be used: all, or so few as are allowed. */
  #within(wanted: Wanted): Room[] {
    const rooms = this.#rooms(wanted);
    const { held, maxNodes, workers } = wanted;
    const others = rooms.filter(({ name }) => !held.has(name));
    if (held.size + others.length <= maxNodes) return rooms;
    const own = rooms.filter(({ name }) => held.has(name));
    const count = Math.max(0, maxNodes - held.size);
    const missing = workers - workersIn(own);
    const chosen = wanted.placement === "spread" ? this.#chooseNodes(others, count) : [];
    // The randomly chosen nodes may be too small where the best ones would do.
    return [...own, ...(workersIn(chosen) >= missing ? chosen : fewest(others, count, missing))];
  }

  #chooseNodes(from: readonly Room[], count: number): Room[] {
    const left = [...from];
    const chosen: Room[] = [];
    while (chosen.length < count && left.length > 0) {
      const best = this.#betterOfTwo(left);
      chosen.push(best);
      left.splice(left.indexOf(best), 1);
    }
    return chosen;
  }

  #spread(rooms: readonly Room[], workers: number): void {
    const open = [...rooms];
    for (let left = workers; left > 0 && open.length > 0; left--) {
      const room = this.#betterOfTwo(open);
      room.planned++;
      if (--room.workers === 0) open.splice(open.indexOf(room), 1);
    }
  }

  #betterOfTwo(rooms: readonly Room[]): Room {
    const first = this.#below(rooms.length);
    if (rooms.length === 1) return rooms[0]!;
    const second = (first + 1 + this.#below(rooms.length - 1)) % rooms.length;
    const [a, b] = [rooms[first]!, rooms[second]!];
    return b.workers > a.workers ? b : a;
  }

  #below(limit: number): number {
    return Math.min(limit - 1, Math.floor(this.#random() * limit));
  }
}

const workersIn = (rooms: readonly Room[]): number =>
  rooms.reduce((sum, { workers }) => sum + workers, 0);

/** The one that is fullest of those which have room for all; else the emptiest ones first. */
function pack(rooms: readonly Room[], workers: number): void {
  const open = [...rooms];
  for (let left = workers; left > 0 && open.length > 0;) {
    const room = bestFit(open, left);
    const taken = Math.min(left, room.workers);
    room.planned += taken;
    room.workers -= taken;
    left -= taken;
    open.splice(open.indexOf(room), 1);
  }
}

/** Up to `count` nodes for `workers`, as {@link pack} would take them. */
function fewest(rooms: readonly Room[], count: number, workers: number): Room[] {
  const open = [...rooms];
  const chosen: Room[] = [];
  for (let left = workers; chosen.length < count && open.length > 0;) {
    const room = bestFit(open, Math.max(1, left));
    chosen.push(room);
    left -= room.workers;
    open.splice(open.indexOf(room), 1);
  }
  return chosen;
}

/** The smallest of those that have room for all, else the largest; the first among equals. */
function bestFit(rooms: readonly Room[], workers: number): Room {
  return rooms.reduce((best, room) => {
    const fits = room.workers >= workers;
    if (fits !== best.workers >= workers) return fits ? room : best;
    return (fits ? room.workers < best.workers : room.workers > best.workers) ? room : best;
  });
}

function split(node: string, workers: number, most: number): Ask[] {
  const asks: Ask[] = [];
  for (let left = workers; left > 0; left -= most)
    asks.push({ node, workers: Math.min(left, most) });
  return asks;
}
