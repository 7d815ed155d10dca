/** Requests in the order in which they came: one after the other looks for room, so that a large one is not starved by small ones. */

export interface Turn {
  /** Whether nobody who came earlier is looking for room. */
  readonly first: boolean;
  /** Whether one who came earlier has found too little and waits for more. */
  readonly behindWaiting: boolean;
  /** Resolves when one of these may have changed. */
  change(): Promise<void>;
  /** Has what it wants, so far: others may go. */
  pause(): void;
  /** Takes the old place again. */
  resume(): void;
  /** Has found too little. */
  wait(): void;
  /** Leaves the queue for good. */
  leave(): void;
}

interface Place {
  state: "looking" | "waiting" | "paused";
}

export class Turns {
  /** In the order of arrival. */
  #places: Place[] = [];
  #change = Promise.withResolvers<void>();

  enter(): Turn {
    const place: Place = { state: "looking" };
    this.#places.push(place);
    const before = (): Place[] => this.#before(place);
    return {
      get first() {
        return before().every(({ state }) => state === "paused");
      },
      get behindWaiting() {
        return before().some(({ state }) => state === "waiting");
      },
      change: () => this.#change.promise,
      pause: () => this.#moved(() => (place.state = "paused")),
      resume: () => this.#moved(() => (place.state = "looking")),
      wait: () => this.#moved(() => (place.state = "waiting")),
      leave: () =>
        this.#moved(() => (this.#places = this.#places.filter((other) => other !== place))),
    };
  }

  #before(place: Place): Place[] {
    return this.#places.slice(0, Math.max(0, this.#places.indexOf(place)));
  }

  #moved(move: () => void): void {
    move();
    const { resolve } = this.#change;
    this.#change = Promise.withResolvers<void>();
    resolve();
  }
}
