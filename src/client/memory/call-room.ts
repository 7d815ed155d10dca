/** Room in a lease's memory for the calls of its handles: a call that finds none queues until others have ended. */

/** How often a waiting call checks whether a function still uses the buffers of an abandoned call. */
const HELD_POLL_MS = 20;

/** A place in the line. */
export interface Turn {
  /** Resolves when there may be room. */
  readonly comes: Promise<void>;
  /** Leaves the line. */
  leave(): void;
}

export class CallRoom {
  /** Pairs of buffers that are in use. */
  taken = 0;
  /** Of these, pairs that functions may still use whose calls were abandoned. */
  held = 0;
  readonly #waiting = new Set<() => void>();
  /** Each frees idle buffers that wait for reuse. */
  readonly #spares = new Set<() => void>();

  nextTurn(): Turn {
    const { promise: comes, resolve } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    // The client gets no notice when the function of an abandoned call ends.
    const timer = this.held > 0 ? setTimeout(resolve, HELD_POLL_MS) : undefined;
    void comes.then(() => {
      this.#waiting.delete(resolve);
      clearTimeout(timer);
    });
    const leave = (): void => {
      // A waiter that leaves after its turn came passes the turn on.
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

  /** Calls `letGo` once when the lease has run out of memory. */
  addSpares(letGo: () => void): void {
    this.#spares.add(letGo);
  }

  /** Frees idle buffers. Returns whether there were any. */
  letGo(): boolean {
    const all = [...this.#spares];
    this.#spares.clear();
    for (const letGo of all) letGo();
    return all.length > 0;
  }
}
