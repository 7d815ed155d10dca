/** What a worker is to do with its stopped loop: in the order in which it was told, each once, also before it asks. */
import type { ResumeOrder, StopOrder } from "./thread-messages.ts";

export class Orders {
  readonly #given: (StopOrder | ResumeOrder)[] = [];
  #taker: ((order: StopOrder | ResumeOrder) => void) | undefined;

  give(order: StopOrder | ResumeOrder): void {
    if (!this.#taker) return void this.#given.push(order);
    this.#taker(order);
    this.#taker = undefined;
  }

  async next(): Promise<StopOrder | ResumeOrder> {
    return this.#given.shift() ?? (await new Promise((resolve) => (this.#taker = resolve)));
  }
}
