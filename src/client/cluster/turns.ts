/** Requests in the order of their arrival: one at a time looks for room, so that small ones do not starve a large one. */

export interface Turn {
  /** Whether no earlier request is looking for room. */
  readonly first: boolean;
  /** Whether an earlier request has found too little room and waits for more. */
  readonly behindWaiting: boolean;
  /** Resolves when one of these may have changed. */
  change(): Promise<void>;
  /** The request has what it needs so far: lets later requests look for room. */
  pause(): void;
  /** The request looks for room again, from its old place. */
  resume(): void;
  /** The request has found too little room. */
  wait(): void;
  /** Removes the request from the queue. */
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
