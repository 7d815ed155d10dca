/**
 * Requests for leases that wait for room, in fair order (`lease/line.ts`), each for its own time; and places of clients that wait at
 * several nodes, which are offered the room when it is their turn, and take it or pass.
 */
import { type Clock, FineWallTime, type Timer } from "../../base/clock.ts";
import { RequestRefused } from "../../control/requests.ts";
import type { Share } from "../../lease/capacity.ts";
import { Line } from "../../lease/line.ts";
import { type Offer, Offers, RECALL_AFTER_NS } from "../../lease/offers.ts";
import type { Use } from "../../lease/shares.ts";
import type { LineState } from "../../protocol/messages.ts";

/** A request of a client, on behalf of a user. */
export interface Asking {
  client: object;
  user: string;
  /** The user's share against others. Default 1. */
  weight?: number | undefined;
  request: number;
  /** 0 for one that does not wait. */
  waitMs: number;
}

/** A lease that is asked for. */
interface Claimed {
  cores: number;
  memoryBytes: number;
  /** The offer that it takes. */
  offer?: number | undefined;
}

/** Room for so many workers, and for fewer where there is no more. */
export interface WantedRoom {
  workers: number;
  atLeast: number;
  coresPerWorker: number;
  memoryBytes: number;
}

/** A place in line. */
export interface WantedPlace extends WantedRoom {
  /** How long its client has waited for it already, */
  waitedMs: number;
  /** and since when, by the client's clock. */
  beganAtMs?: number | undefined;
  /** How long the client may think about an offer. */
  holdMs: number;
  /** The client needs more than one offer at once. */
  isPart: boolean;
  /** Sets the room aside, or returns undefined while there is too little. Throws {@link RequestRefused} when waiting is in vain. */
  hold(room: WantedRoom): Held | undefined;
  /** The client is offered room for so many workers, all together; again, when there is more. */
  offered(workers: number, holdMs: number): void;
  /** The client is to give the offer back. */
  recall(): void;
}

/** Room that is set aside. */
export interface Held {
  workers: number;
  share: Share;
}

/** How old a request is. */
interface Age {
  sinceNs: number;
  /** When it began, by the monotonic clock, to compare it with others. */
  beganMs: number;
}

/** What a request that was first in line has got. */
type Served = "all" | "some" | "none" | "refused";

interface Waiting {
  client: object;
  request: number;
  sinceNs: number;
  /** By when its time is over. */
  untilNs: number;
  isPart: boolean;
  serve(): Served;
  /** It is over without its being served. */
  reject(error: Error): void;
  timer: Timer;
}

/** The code of a refusal that waiting can help. */
export const FULL = "RFAAS_NODE_FULL";
/** What one node keeps in line: each request takes some hundred bytes. */
const MAX_WAITING = 65_536;
/** And of one user, who must not keep others from the line. */
const MAX_WAITING_OF_USER = 4096;
/** For longer no client holds an offer, whatever it says. */
export const MAX_HOLD_MS = 60_000;
/** No request has waited for longer. */
const MAX_WAITED_MS = 86_400_000;
/** A client whose clock is further off is not believed. */
const MAX_SKEW_MS = 5_000;
/** How long a message may be on its way to count as one that came at once. */
const TOGETHER_MS = 100;

export class WaitingLine {
  readonly #line = new Line<Waiting>();
  readonly #offers = new Offers<object>();
  readonly #timers = new Map<Offer<object>, Timer[]>();
  readonly #clock: Clock;
  readonly #wallTime: FineWallTime;
  readonly #letGoOf: (share: Share) => void;
  readonly #onChange: () => void;
  /** When the last request of each client began that is not believed. */
  readonly #formerMs = new WeakMap<object, number>();
  #served = 0;
  #waitedMs = 0;
  #serving = false;

  /** `letGo` frees room that was set aside; `onChange` hears when there are more or fewer that wait, or offers. */
  constructor(clock: Clock, letGo: (share: Share) => void, onChange: () => void = () => {}) {
    this.#clock = clock;
    this.#wallTime = new FineWallTime(clock, () => 0);
    this.#letGoOf = letGo;
    this.#onChange = onChange;
  }

  get size(): number {
    return this.#line.size;
  }

  state(): LineState {
    const oldest = this.#line.oldestOf(() => true);
    return {
      waiting: this.#line.size,
      longestWaitMs: oldest ? this.#msSince(oldest.waiting.sinceNs) : 0,
      offers: this.#offers.size,
      served: this.#served,
      waitedMs: this.#waitedMs,
    };
  }

  /**
   * Books at once where there is room and none waits, or where the client takes an offer; else when it is the request's turn. Resolves to
   * what was booked and how long it waited. Rejects with the last refusal.
   */
  async turn<Booked>(
    asking: Asking,
    claimed: Claimed,
    book: () => Booked,
  ): Promise<{ booked: Booked; waitedMs: number }> {
    const waitedMs = this.#claim(asking.client, claimed);
    try {
      if (waitedMs !== undefined) return this.#counted(book(), waitedMs);
      if (this.size === 0) return { booked: book(), waitedMs: 0 };
    } catch (error) {
      if (asking.waitMs === 0 || !isFull(error)) throw error;
    } finally {
      // It may have taken less than it was offered, or nothing, where it was refused.
      if (claimed.offer !== undefined) {
        this.#onChange();
        this.serve();
      }
    }
    const turn = Promise.withResolvers<{ booked: Booked; waitedMs: number }>();
    this.#add(asking, { isPart: false, waitedMs: 0 }, turn.reject, ({ sinceNs }) => {
      turn.resolve(this.#counted(book(), this.#msSince(sinceNs)));
      return "all";
    });
    return turn.promise;
  }

  /** A place in line. Resolves once all is offered that it wants; rejects with the last refusal. */
  place(asking: Asking, wanted: WantedPlace): Promise<void> {
    const over = Promise.withResolvers<void>();
    const { coresPerWorker, holdMs } = wanted;
    const room = { ...wanted };
    let offer: Offer<object> | undefined;
    this.#add(asking, wanted, over.reject, (age) => {
      const held = wanted.hold(room);
      if (!held) return "none";
      offer ??= this.#offer(asking, wanted, age);
      offer.shares.push(held.share);
      offer.uses.push(this.take(asking, held.workers * coresPerWorker, true));
      room.workers -= held.workers;
      // The lease's memory is there.
      room.atLeast = 1;
      room.memoryBytes = 0;
      wanted.offered(wanted.workers - room.workers, Math.min(holdMs, MAX_HOLD_MS));
      if (room.workers > 0) return "some";
      over.resolve();
      return "all";
    });
    this.serve();
    return over.promise;
  }

  /** There may be room: serves those that have it, in their order. */
  serve(): void {
    if (this.#serving) return;
    this.#serving = true;
    try {
      while (this.#serveFirst());
    } finally {
      this.#serving = false;
    }
  }

  /** The client has withdrawn the request, or is gone with all of its own; or it passes an offer. */
  leave(client: object, request?: number): void {
    this.#end(client, request, "RFAAS_NODE_LOST", "no lease: the request was withdrawn");
  }

  /** A user has cores from now on; `offered`, until it takes them. */
  take({ user, weight = 1 }: Pick<Asking, "user" | "weight">, cores: number, offered = false): Use {
    return this.#line.shares.take({ user, weight, cores, offered }, this.#clock.nowNs());
  }

  /** It has them no more. */
  give(use: Use): void {
    this.#line.shares.give(use, this.#clock.nowNs());
  }

  #end(client: object, request: number | undefined, code: string, message: string): void {
    const gone = this.#remove(client, request);
    for (const { reject } of gone) reject(new RequestRefused(code, message));
    const passed = this.#offers.of(client, request);
    for (const offer of passed) this.#letGo(offer);
    if (gone.length === 0 && passed.length === 0) return;
    this.#onChange();
    this.serve();
  }

  /** Returns whether there may be room for the next one, too. */
  #serveFirst(): boolean {
    const first = this.#line.first(this.#clock.nowNs());
    if (!first) return false;
    const { waiting } = first;
    let served: Served;
    try {
      served = waiting.serve();
    } catch (error) {
      served = isFull(error) ? "none" : "refused";
      if (served === "refused") waiting.reject(error as Error);
    }
    if (served === "none") {
      this.#recall();
      return false;
    }
    if (served !== "refused") this.#line.served(first);
    if (served !== "some") {
      waiting.timer.clear();
      this.#line.shift(first, this.#clock.nowNs());
    }
    this.#onChange();
    return true;
  }

  #counted<Booked>(booked: Booked, waitedMs: number): { booked: Booked; waitedMs: number } {
    this.#served++;
    this.#waitedMs += waitedMs;
    return { booked, waitedMs };
  }

  #add(
    { client, user, weight = 1, request, waitMs }: Asking,
    { isPart, ...wanted }: Pick<WantedPlace, "isPart" | "waitedMs" | "beganAtMs">,
    reject: (error: Error) => void,
    serve: (age: Age) => Served,
  ): void {
    const line = this.#line;
    if (waitMs === 0 || line.size >= MAX_WAITING || line.sizeOf(user) >= MAX_WAITING_OF_USER)
      return reject(
        new RequestRefused(
          FULL,
          `others wait for room before this request (${line.size}); let it wait, or try again later`,
        ),
      );
    const age = this.#ageOf(client, wanted);
    const timer = this.#clock.after(waitMs, () => {
      if (line.remove((one) => one === waiting, this.#clock.nowNs()).length === 0) return;
      const message = `the node had no room within ${waitMs} ms; release another lease, or wait longer`;
      reject(new RequestRefused(FULL, message));
      this.#onChange();
      // The next in line may need less.
      this.serve();
    });
    const { sinceNs } = age;
    const waiting: Waiting = {
      ...{ client, request, sinceNs, isPart, reject, timer },
      untilNs: this.#clock.nowNs() + waitMs * 1e6,
      serve: () => serve(age),
    };
    line.add(waiting, { user, weight, beganMs: age.beganMs }, this.#clock.nowNs());
    this.#onChange();
  }

  /**
   * By when requests began all nodes have them in one order, however long their messages were on their way. Two that each hold at one node
   * what the other needs would else both be the older one where they wait.
   */
  #ageOf(
    client: object,
    { waitedMs, beganAtMs }: Pick<WantedPlace, "waitedMs" | "beganAtMs">,
  ): Age {
    const waited = Math.min(waitedMs, MAX_WAITED_MS);
    const seenMs = this.#clock.nowMs() - waited;
    const saidMs = beganAtMs === undefined ? Infinity : this.#wallTime.monotonicMs(beganAtMs);
    const isBelieved = Math.abs(saidMs - seenMs) <= MAX_SKEW_MS;
    return {
      sinceNs: this.#clock.nowNs() - waited * 1e6,
      beganMs: isBelieved ? saidMs : this.#inOrder(client, seenMs),
    };
  }

  /**
   * What a client has sent one after the other comes at once where one of both was busy, and its last request would seem to be the oldest:
   * those that began together stay as they were sent.
   */
  #inOrder(client: object, seenMs: number): number {
    const formerMs = this.#formerMs.get(client) ?? -Infinity;
    const inOrderMs = formerMs - seenMs < TOGETHER_MS ? Math.max(formerMs, seenMs) : seenMs;
    this.#formerMs.set(client, inOrderMs);
    return inOrderMs;
  }

  #remove(client: object, request?: number): Waiting[] {
    const removed = this.#line.remove(
      (one) => one.client === client && (request === undefined || one.request === request),
      this.#clock.nowNs(),
    );
    for (const { timer } of removed) timer.clear();
    return removed;
  }

  #offer(
    { client, request }: Asking,
    { holdMs, isPart, recall }: WantedPlace,
    age: Age,
  ): Offer<object> {
    const offer: Offer<object> = {
      ...{ holder: client, number: request, shares: [], uses: [], ...age, isPart, recall },
      madeAtNs: this.#clock.nowNs(),
    };
    this.#offers.add(offer);
    const bound = Math.min(holdMs, MAX_HOLD_MS);
    const late = `the client has not taken what it was offered within ${bound} ms`;
    const timers = [this.#clock.after(bound, () => this.#end(client, request, FULL, late))];
    if (isPart) timers.push(this.#clock.after(RECALL_AFTER_NS / 1e6, () => this.serve()));
    this.#timers.set(offer, timers);
    return offer;
  }

  #letGo(offer: Offer<object>): void {
    for (const timer of this.#timers.get(offer) ?? []) timer.clear();
    this.#timers.delete(offer);
    if (!this.#offers.delete(offer)) return;
    for (const use of offer.uses) this.give(use);
    for (const share of offer.shares) this.#letGoOf(share);
  }

  /**
   * Lets the room go that the client was offered, for it to be booked now; its place ends. Returns how long it has waited for it, or
   * undefined when it was not offered as much as it asks for.
   */
  #claim(client: object, { cores, memoryBytes, offer: number }: Claimed): number | undefined {
    const offer = number === undefined ? undefined : this.#offers.of(client, number)[0];
    if (!offer) return undefined;
    for (const { reject } of this.#remove(client, number))
      reject(new RequestRefused(FULL, "the client has taken what it was offered"));
    this.#letGo(offer);
    const { shares, sinceNs } = offer;
    const offered = shares.reduce((sum, { cpus }) => sum + cpus.length, 0);
    const enough = offered >= cores && shares[0]!.memoryBytes >= memoryBytes;
    return enough ? this.#msSince(sinceNs) : undefined;
  }

  /**
   * There is no room: if a request waits that needs several parts at once, younger ones that hold a part of theirs give it back. It is for that
   * request: by turns, which are each node's own, they could get each other's parts for ever.
   */
  #recall(): void {
    if (this.#offers.size === 0) return;
    const nowNs = this.#clock.nowNs();
    const oldest = this.#line.oldestOf(({ isPart, untilNs }) => isPart && untilNs > nowNs);
    if (!oldest) return;
    const recalled = this.#offers.toRecall(oldest.beganMs, nowNs);
    if (recalled.length > 0) this.#line.prefer(oldest);
    for (const offer of recalled) offer.recall();
  }

  #msSince(sinceNs: number): number {
    return (this.#clock.nowNs() - sinceNs) / 1e6;
  }
}

const isFull = (error: unknown): boolean => error instanceof RequestRefused && error.code === FULL;
