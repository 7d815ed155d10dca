/** The events of a lease for one reader: queued from the moment it asks for them, bounded, over as soon as it leaves. */
import type { LeaseEvent } from "./lease-event.ts";

type Step = IteratorResult<LeaseEvent, void>;
const OVER: Step = Object.freeze({ done: true, value: undefined });

/** Events that the reader has not taken yet. */
const MAX_WAITING = 1000;

export const isLast = ({ type }: LeaseEvent): boolean => type === "lost" || type === "released";

export class EventQueue implements AsyncGenerator<LeaseEvent, void> {
  readonly #onEnd: (queue: EventQueue) => void;
  #waiting: LeaseEvent[] = [];
  #readers: ((step: Step) => void)[] = [];
  /** Closes the queue: the reader still gets the queued events. */
  #complete = false;

  /** Calls `onEnd` when the reader leaves. */
  constructor(onEnd: (queue: EventQueue) => void) {
    this.#onEnd = onEnd;
  }

  push(event: LeaseEvent): void {
    if (this.#complete) return;
    this.#complete = isLast(event);
    const reader = this.#readers.shift();
    if (reader) reader({ done: false, value: event });
    else this.#waiting.push(event);
    if (this.#waiting.length > MAX_WAITING) this.#dropOne();
    if (this.#complete) this.#end();
  }

  next(): Promise<Step> {
    const event = this.#waiting.shift();
    if (event) return Promise.resolve({ done: false, value: event });
    if (this.#complete) return Promise.resolve(OVER);
    return new Promise((resolve) => this.#readers.push(resolve));
  }

  return(): Promise<Step> {
    this.#waiting = [];
    this.#complete = true;
    this.#end();
    return Promise.resolve(OVER);
  }

  async throw(error: unknown): Promise<Step> {
    await this.return();
    throw error;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  #end(): void {
    for (const reader of this.#readers.splice(0)) reader(OVER);
    this.#onEnd(this);
  }

  /** Drops log lines first, the oldest before the others: events of the lease itself are rare and matter more. */
  #dropOne(): void {
    const at = this.#waiting.findIndex(({ type }) => type === "log");
    const [gone] = this.#waiting.splice(Math.max(0, at), 1);
    if (gone?.type !== "log") return;
    const next = this.#waiting.findIndex(
      (event) => event.type === "log" && event.worker === gone.worker,
    );
    const line = this.#waiting[next];
    if (line?.type === "log")
      this.#waiting[next] = Object.freeze({ ...line, dropped: line.dropped + gone.dropped + 1 });
  }
}
