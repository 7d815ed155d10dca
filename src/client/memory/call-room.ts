/** Room in a lease's memory for the calls of its handles: whoever finds none waits in line until others have ended. */

/** How often somebody who waits looks whether a function still uses the buffers of an abandoned call. */
const HELD_POLL_MS = 20;

/** A place in the line. */
export interface Turn {
  /** Resolves when there may be room. */
  readonly comes: Promise<void>;
  /** Takes no turn. */
  leave(): void;
}

export class CallRoom {
  /** Pairs of buffers that are in use. */
  taken = 0;
  /** Of these, pairs that functions may still use whose calls were abandoned. */
  held = 0;
  readonly #waiting = new Set<() => void>();
  /** Let go of buffers that wait to be used again. */
  readonly #spares = new Set<() => void>();

  nextTurn(): Turn {
    const { promise: comes, resolve } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    // A function that goes on after its call was abandoned does not say when it ends.
    const timer = this.held > 0 ? setTimeout(resolve, HELD_POLL_MS) : undefined;
    void comes.then(() => {
      this.#waiting.delete(resolve);
      clearTimeout(timer);
    });
    const leave = (): void => {
      // Whose turn had just come lets the next go on.
      if (!this.#waiting.has(resolve)) this.callNext();
      resolve();
    };
    return { comes, leave };
  }

  callNext(): void {
    const [next] = this.#waiting;
    if (next === undefined) return;
    this.#waiting.delete(next);
    next();
  }

  /** Hears once when the lease has run out of memory. */
  addSpares(letGo: () => void): void {
    this.#spares.add(letGo);
  }

  /** Returns whether anybody had something to let go of. */
  letGo(): boolean {
    const all = [...this.#spares];
    this.#spares.clear();
    for (const letGo of all) letGo();
    return all.length > 0;
  }
}
