/**
 * Where the buffers of the last calls lie, in the order of the calls. A program that has many calls in flight uses its pairs of buffers
 * in turn, so the next pair is most often the one that came next the last time: to ask a pair where it lies costs more than its call.
 */
import type { Place } from "./place.ts";

/** Two buffers, and what a request says of them. */
export interface LocatedPair {
  readonly inputView: ArrayBufferView;
  readonly outputView: ArrayBufferView;
  readonly input: Place;
  readonly output: Place;
  readonly inputOffset: number;
  readonly inputLength: number;
  readonly outputOffset: number;
  readonly outputCapacity: number;
  readonly flags: number;
}

/** More than most programs have in flight on one part of a lease. */
const KEPT = 1024;

export class RecentPairs {
  readonly #locate: (input: ArrayBufferView, output: ArrayBufferView) => LocatedPair;
  readonly #pairs: LocatedPair[] = [];
  /** Where the pair that comes next most likely is. */
  #next = 0;

  constructor(locate: (input: ArrayBufferView, output: ArrayBufferView) => LocatedPair) {
    this.#locate = locate;
  }

  /** Throws what locating throws. */
  locate(input: ArrayBufferView, output: ArrayBufferView): LocatedPair {
    const next = this.#pairs[this.#next];
    if (next !== undefined && fits(next, input, output)) {
      this.#next++;
      return next;
    }
    const first = this.#pairs[0];
    if (first !== undefined && fits(first, input, output)) {
      this.#next = 1;
      return first;
    }
    return this.#add(input, output);
  }

  /** Buffers may have moved, or be the lease's no longer. */
  clear(): void {
    this.#pairs.length = 0;
    this.#next = 0;
  }

  #add(input: ArrayBufferView, output: ArrayBufferView): LocatedPair {
    const pair = this.#locate(input, output);
    // The length of a `DataView` whose memory was transferred throws.
    if (input instanceof DataView || output instanceof DataView) return pair;
    if (this.#next >= KEPT) this.#next = 0;
    this.#pairs[this.#next++] = pair;
    return pair;
  }
}

/** Buffers that were transferred since have become empty. */
const fits = (pair: LocatedPair, input: ArrayBufferView, output: ArrayBufferView): boolean =>
  input === pair.inputView &&
  output === pair.outputView &&
  input.byteLength === pair.inputLength &&
  output.byteLength === pair.outputCapacity;
