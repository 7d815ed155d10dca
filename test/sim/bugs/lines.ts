/** Wrong turns of the line in which clients wait for room. */
import { MAX_HOLD_MS, WaitingLine } from "../../../src/executor/admission/waiting-line.ts";

type PlaceArgs = Parameters<WaitingLine["place"]>;
type TurnArgs<Booked> = Parameters<typeof WaitingLine.prototype.turn<Booked>>;
type Turn<Booked> = Promise<{ booked: Booked; waitedMs: number }>;

/** Holds an offer for as long as anybody may. */
class NoHoldLimit extends WaitingLine {
  override place(...[asking, wanted]: PlaceArgs): Promise<void> {
    return super.place(asking, { ...wanted, holdMs: MAX_HOLD_MS });
  }
}

/** Keeps a place for as long as its client lives. */
class NoWaitLimit extends WaitingLine {
  override place(...[asking, wanted]: PlaceArgs): Promise<void> {
    return super.place({ ...asking, waitMs: 86_400_000 }, wanted);
  }
}

/** Asks no client to give back what it holds of a group. */
class NoRecall extends WaitingLine {
  override place(...[asking, wanted]: PlaceArgs): Promise<void> {
    return super.place(asking, { ...wanted, recall: () => {} });
  }
}

/** Takes all users for equal. */
class NoWeights extends WaitingLine {
  override place(...[asking, wanted]: PlaceArgs): Promise<void> {
    return super.place({ ...asking, weight: 1 }, wanted);
  }
}

/** Knows which requests were offered something. */
class SeesOffers extends WaitingLine {
  readonly #offered = new Map<object, Set<number>>();

  override place(...[asking, wanted]: PlaceArgs): Promise<void> {
    const { client, request } = asking;
    const offered = (workers: number, holdMs: number): void => {
      this.#offered.set(client, (this.#offered.get(client) ?? new Set<number>()).add(request));
      wanted.offered(workers, holdMs);
    };
    return super.place(asking, { ...wanted, offered });
  }

  protected wasOffered(client: object, request: number): boolean {
    return this.#offered.get(client)?.has(request) ?? false;
  }
}

/** Hears nothing of it when a client passes. */
class PassedOfferLost extends SeesOffers {
  override leave(client: object, request?: number): void {
    if (request === undefined || !this.wasOffered(client, request)) super.leave(client, request);
  }
}

/** Hears nothing of it when a client does not want to wait any more. */
class WithdrawnStays extends SeesOffers {
  override leave(client: object, request?: number): void {
    if (request === undefined || this.wasOffered(client, request)) super.leave(client, request);
  }
}

/** Keeps the places of clients that are gone. */
class PlaceOutlivesClient extends WaitingLine {
  override leave(client: object, request?: number): void {
    if (request !== undefined) super.leave(client, request);
  }
}

/** Takes who has waited long for who has just come. */
class YoungestFirst extends WaitingLine {
  override place(...[asking, wanted]: PlaceArgs): Promise<void> {
    return super.place(asking, { ...wanted, waitedMs: 0, beganAtMs: undefined });
  }
}

/** The line serves requests that come, and wakes none later. */
class SleepingLine extends WaitingLine {
  #comes = false;

  override place(...args: PlaceArgs): Promise<void> {
    this.#comes = true;
    try {
      return super.place(...args);
    } finally {
      this.#comes = false;
    }
  }

  override serve(): void {
    if (this.#comes) super.serve();
  }
}

/** The node grants what it has room for at once, past requests that wait. */
class JumpsTheLine extends WaitingLine {
  override turn<Booked>(...[asking, claimed, book]: TurnArgs<Booked>): Turn<Booked> {
    if (claimed.offer !== undefined) return super.turn(asking, claimed, book);
    return Promise.try(() => ({ booked: book(), waitedMs: 0 }));
  }
}

/** The node offers no client what another has left of its offer. */
class LeftoverIdle extends WaitingLine {
  #turns = false;

  override turn<Booked>(...args: TurnArgs<Booked>): Turn<Booked> {
    this.#turns = true;
    try {
      return super.turn(...args);
    } finally {
      this.#turns = false;
    }
  }

  override serve(): void {
    if (!this.#turns) super.serve();
  }
}

export const LINES = {
  "jumps-the-line": JumpsTheLine,
  "leftover-idle": LeftoverIdle,
  "no-hold-limit": NoHoldLimit,
  "no-recall": NoRecall,
  "no-wait-limit": NoWaitLimit,
  "no-weights": NoWeights,
  "passed-offer-lost": PassedOfferLost,
  "place-outlives-client": PlaceOutlivesClient,
  "sleeping-line": SleepingLine,
  "withdrawn-stays": WithdrawnStays,
  "youngest-first": YoungestFirst,
};
