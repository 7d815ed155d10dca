/** What a worker is to do with its stopped loop: in the order in which it was told, each once, also before it asks. */
import type { LoopOrder } from "./thread-messages.ts";

export class Orders {
  readonly #given: LoopOrder[] = [];
  #taker: ((order: LoopOrder) => void) | undefined;

  give(order: LoopOrder): void {
    if (!this.#taker) return void this.#given.push(order);
    this.#taker(order);
    this.#taker = undefined;
  }

  async next(): Promise<LoopOrder> {
    return this.#given.shift() ?? (await new Promise((resolve) => (this.#taker = resolve)));
  }
}
