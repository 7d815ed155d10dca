/**
 * Those that wait for room on a node, in fair order: the user comes first who has had the least for its weight (`shares.ts`), and each
 * user's own go by their age. The first in line is served before all others, so that small requests do not starve a large one. Pure: the
 * time comes with each question.
 */
import { Shares } from "./shares.ts";

/** Who waits, and since when. */
export interface Arrival {
  user: string;
  /** Against other users. */
  weight: number;
  /** When the request began, wherever it has waited before; by any clock. */
  beganMs: number;
}

/** Who is to be served next. */
export interface First<Waiting> {
  readonly waiting: Waiting;
  readonly user: string;
  /** What the user has had, for its weight. */
  readonly hadNs: number;
  /** It is the user's turn, too. */
  readonly inTurn: boolean;
}

/** Who waits longest. */
export interface Oldest<Waiting> {
  readonly waiting: Waiting;
  readonly user: string;
  readonly beganMs: number;
}

interface Place<Waiting> {
  readonly waiting: Waiting;
  readonly beganMs: number;
}

export class Line<Waiting> {
  readonly shares: Shares;
  /** By user, the oldest first. None is empty. */
  readonly #users = new Map<string, Place<Waiting>[]>();
  #preferred: { readonly waiting: Waiting; readonly user: string } | undefined;
  #size = 0;

  constructor(shares = new Shares()) {
    this.shares = shares;
  }

  get size(): number {
    return this.#size;
  }

  /** How many of a user's wait. */
  sizeOf(user: string): number {
    return this.#users.get(user)?.length ?? 0;
  }

  /** This one is served next, whosever turn it is. */
  prefer({ waiting, user }: Oldest<Waiting>): void {
    this.#preferred = { waiting, user };
  }

  /** Who is to be served next. */
  first(nowNs: number): First<Waiting> | undefined {
    if (this.#preferred) {
      const hadNs = this.shares.had(this.#preferred.user, nowNs);
      return { ...this.#preferred, hadNs, inTurn: false };
    }
    let first: First<Waiting> | undefined;
    let beganMs = 0;
    for (const [user, [oldest]] of this.#users) {
      const hadNs = this.shares.had(user, nowNs);
      if (first && (hadNs > first.hadNs || (hadNs === first.hadNs && oldest!.beganMs >= beganMs)))
        continue;
      first = { waiting: oldest!.waiting, user, hadNs, inTurn: true };
      ({ beganMs } = oldest!);
    }
    return first;
  }

  /** The oldest of those that match. */
  oldestOf(matches: (waiting: Waiting) => boolean): Oldest<Waiting> | undefined {
    let oldest: Oldest<Waiting> | undefined;
    for (const [user, own] of this.#users)
      for (const { waiting, beganMs } of own)
        if (matches(waiting) && (!oldest || beganMs < oldest.beganMs))
          oldest = { waiting, user, beganMs };
    return oldest;
  }

  add(waiting: Waiting, { user, weight, beganMs }: Arrival, nowNs: number): void {
    const place = { waiting, beganMs };
    const own = this.#users.get(user);
    if (own) {
      // Mostly it is the youngest.
      let at = own.length;
      while (at > 0 && own[at - 1]!.beganMs > beganMs) at--;
      own.splice(at, 0, place);
    } else this.#users.set(user, [place]);
    this.#size++;
    this.shares.wait(user, weight, nowNs);
  }

  /** The {@link first} has got something: from now on it waits for its turn. */
  served({ hadNs, inTurn }: First<Waiting>): void {
    if (inTurn) this.shares.serve(hadNs);
    else this.#preferred = undefined;
  }

  /** The {@link first} leaves the line: it was served, or refused. */
  shift({ waiting, user, inTurn }: First<Waiting>, nowNs: number): void {
    if (!inTurn) this.#preferred = undefined;
    const own = this.#users.get(user)!;
    own.splice(
      own.findIndex((place) => place.waiting === waiting),
      1,
    );
    this.#left(user, own, 1, nowNs);
  }

  /** Those that match leave, wherever they are. Returns them. */
  remove(matches: (waiting: Waiting) => boolean, nowNs: number): Waiting[] {
    if (this.#preferred && matches(this.#preferred.waiting)) this.#preferred = undefined;
    const removed: Waiting[] = [];
    for (const [user, own] of this.#users) {
      const left = own.filter(({ waiting }) => !matches(waiting));
      if (left.length === own.length) continue;
      removed.push(...own.flatMap(({ waiting }) => (matches(waiting) ? [waiting] : [])));
      this.#left(user, left, own.length - left.length, nowNs);
    }
    return removed;
  }

  #left(user: string, left: Place<Waiting>[], count: number, nowNs: number): void {
    if (left.length > 0) this.#users.set(user, left);
    else this.#users.delete(user);
    this.#size -= count;
    for (let i = 0; i < count; i++) this.shares.leave(user, nowNs);
  }
}
