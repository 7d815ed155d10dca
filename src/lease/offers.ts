/**
 * Room that a node has set aside for those that it has offered it to, until they take it or pass, or a bound is over. An offer grows while
 * its request wants more. Pure: the time comes with each question.
 */
import type { Share } from "./capacity.ts";
import type { Use } from "./shares.ts";

export interface Offer<Holder> {
  readonly holder: Holder;
  /** The holder's number of it. */
  readonly number: number;
  readonly shares: Share[];
  /** What its user has meanwhile, of each share. */
  readonly uses: Use[];
  /** Since when its request waits, */
  readonly sinceNs: number;
  /** and when that began, to compare it with others. */
  readonly beganMs: number;
  /** It is a part of what its holder needs at once, and is held until the others are there. */
  readonly isPart: boolean;
  readonly madeAtNs: number;
  /** Has the holder give it back, as an older request needs it. */
  recall(): void;
}

/** Two requests that each hold what the other needs have had so long to get the rest. */
export const RECALL_AFTER_NS = 200e6;

export class Offers<Holder> {
  readonly #offers = new Set<Offer<Holder>>();
  readonly #recalled = new WeakSet<Offer<Holder>>();

  get size(): number {
    return this.#offers.size;
  }

  add(offer: Offer<Holder>): void {
    this.#offers.add(offer);
  }

  /** It is over. Returns whether it was not before. */
  delete(offer: Offer<Holder>): boolean {
    return this.#offers.delete(offer);
  }

  /** Those of a holder, or the one of this number. */
  of(holder: Holder, number?: number): Offer<Holder>[] {
    return [...this.#offers].filter(
      (offer) => offer.holder === holder && (number === undefined || offer.number === number),
    );
  }

  /**
   * Of two requests that need several parts at once the older one gets them: these offers, which are parts of younger ones than a request
   * that began at `beganMs` and waits for another part. Each is named once.
   */
  toRecall(beganMs: number, nowNs: number): Offer<Holder>[] {
    const all = [...this.#offers].filter(
      (offer) =>
        offer.isPart &&
        offer.beganMs > beganMs &&
        nowNs - offer.madeAtNs >= RECALL_AFTER_NS &&
        !this.#recalled.has(offer),
    );
    for (const offer of all) this.#recalled.add(offer);
    return all;
  }
}
