/**
 * A limit of the user's own over a cluster's nodes, as far as they have said that the user's other leases use it up: what one request hears
 * counts for all, since all are of that user. No node tells when those leases end; so the first request asks again after a rest, and at once
 * where this program has given one back.
 */
import type { Clock } from "../../base/clock.ts";
import type { LeaseRefused } from "../../base/errors.ts";

/** Twice as long each time; a lease is granted so long after another one ended, at most. */
const MIN_REST_MS = 100;
const MAX_REST_MS = 1_000;
/** Where each attempt takes leases on several nodes and gives them back. */
const MAX_REST_OF_PARTS_MS = 5_000;

export class OwnLimit {
  readonly #clock: Clock;
  #why: LeaseRefused | undefined;
  #restMs = MIN_REST_MS;
  #mostMs = MAX_REST_MS;
  #untilMs = 0;
  #freed = Promise.withResolvers<void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** What a node has said last; undefined where there was room since. */
  get why(): LeaseRefused | undefined {
    return this.#why;
  }

  /** How long nodes are not to be asked; 0 where they may. */
  get restMs(): number {
    return this.#why ? Math.max(0, this.#untilMs - this.#clock.nowMs()) : 0;
  }

  /** A node has said so, and nodes are asked again after a rest. */
  reached(why: LeaseRefused): void {
    // One attempt may hear it of many nodes.
    if (this.restMs === 0) {
      this.#untilMs = this.#clock.nowMs() + this.#restMs;
      this.#restMs = Math.min(this.#mostMs, 2 * this.#restMs);
    }
    this.#why = why;
  }

  /** A request had got a part of what it wants, and gives it back. */
  hadParts(): void {
    this.#mostMs = MAX_REST_OF_PARTS_MS;
  }

  /** It is not the limit that a request waits for, or not any more. */
  passed(): void {
    if (!this.#why) return;
    this.#why = undefined;
    this.#restMs = MIN_REST_MS;
    this.#mostMs = MAX_REST_MS;
    this.#tell();
  }

  /** A lease of this program has ended. */
  released(): void {
    this.#restMs = MIN_REST_MS;
    this.#untilMs = 0;
    this.#tell();
  }

  /** Resolves when there may be room. */
  freed(): Promise<void> {
    return this.#freed.promise;
  }

  #tell(): void {
    const { resolve } = this.#freed;
    this.#freed = Promise.withResolvers<void>();
    resolve();
  }
}
