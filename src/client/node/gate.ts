/** Lets so many through at a time, in the order of their arrival. */
import { untilAborted } from "../../base/waiting.ts";

export class Gate {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(limit: number) {
    this.#free = limit;
  }

  /** Resolves when it is this one's turn, or after `timeoutMs` without one. To be disposed of behind the gate. Rejects as the signal aborts. */
  async enter(timeoutMs: number, signal: AbortSignal): Promise<Disposable> {
    if (this.#free <= 0) {
      const turn = Promise.withResolvers<void>();
      const timer = setTimeout(turn.resolve, timeoutMs);
      this.#waiting.add(turn.resolve);
      try {
        await untilAborted(turn.promise, signal);
      } catch (error) {
        // It may be its turn already, which is for another one then.
        if (!this.#waiting.has(turn.resolve)) this.#next();
        throw error;
      } finally {
        this.#waiting.delete(turn.resolve);
        clearTimeout(timer);
      }
    }
    this.#free--;
    return { [Symbol.dispose]: () => this.#leave() };
  }

  #leave(): void {
    this.#free++;
    this.#next();
  }

  #next(): void {
    const [next] = this.#waiting;
    if (!next || this.#free <= 0) return;
    this.#waiting.delete(next);
    next();
  }
}
