/** Requests for leases that wait for room, as they ask to: in fair order (`lease/line.ts`), each for its own time. */
import type { Clock, Timer } from "../../base/clock.ts";
import { RequestRefused } from "../../control/requests.ts";
import { Line } from "../../lease/line.ts";

/** A request of a client, on behalf of a user. */
interface Asking {
  client: object;
  user: string;
  request: number;
  /** 0 for one that does not wait. */
  waitMs: number;
}

interface Waiting<Booked> {
  client: object;
  request: number;
  /** Takes the share. Throws {@link RequestRefused}; with {@link FULL} while there is no room. */
  book: () => Booked;
  resolve(booked: Booked): void;
  reject(error: Error): void;
  timer: Timer;
}

/** The code of a refusal that waiting can help. */
export const FULL = "RFAAS_NODE_FULL";
/** What one node keeps in line: each request takes some hundred bytes. */
const MAX_WAITING = 65_536;
/** And of one user, who must not keep others from the line. */
const MAX_WAITING_OF_USER = 4096;

export class WaitingLine<Booked> {
  readonly #line = new Line<Waiting<Booked>>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Books at once where there is room and none waits, else when it is the request's turn. Rejects with the last refusal.
   */
  async turn({ client, user, request, waitMs }: Asking, book: () => Booked): Promise<Booked> {
    if (this.#line.size === 0) {
      try {
        return book();
      } catch (error) {
        if (waitMs === 0 || !isFull(error)) throw error;
      }
    }
    if (
      waitMs === 0 ||
      this.#line.size >= MAX_WAITING ||
      this.#line.sizeOf(user) >= MAX_WAITING_OF_USER
    )
      throw new RequestRefused(
        FULL,
        `others wait for room before this request (${this.#line.size}); let it wait, or try again later`,
      );
    const { promise, resolve, reject } = Promise.withResolvers<Booked>();
    const timer = this.#clock.after(waitMs, () => {
      if (this.#line.remove((one) => one === waiting).length === 0) return;
      const message = `the node had no room within ${waitMs} ms; release another lease, or wait longer`;
      reject(new RequestRefused(FULL, message));
      // The next in line may need less.
      this.serve();
    });
    const waiting = { client, request, book, resolve, reject, timer };
    this.#line.add(user, waiting);
    return promise;
  }

  /** There may be room: serves those that have it, in their order. */
  serve(): void {
    for (let first = this.#line.first; first; first = this.#line.first) {
      try {
        first.resolve(first.book());
      } catch (error) {
        if (isFull(error)) return;
        first.reject(error as Error);
      }
      first.timer.clear();
      this.#line.shift();
    }
  }

  /** The client has withdrawn the request, or is gone with all of its own. */
  leave(client: object, request?: number): void {
    const gone = this.#line.remove(
      (one) => one.client === client && (request === undefined || one.request === request),
    );
    for (const { timer, reject } of gone) {
      timer.clear();
      reject(new RequestRefused("RFAAS_NODE_LOST", "no lease: the request was withdrawn"));
    }
    if (gone.length > 0) this.serve();
  }
}

const isFull = (error: unknown): boolean => error instanceof RequestRefused && error.code === FULL;
