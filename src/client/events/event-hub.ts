/** Delivers a lease's events to listeners by type, and to readers of all events. */
import { notify } from "../../base/notify.ts";
import { EventQueue, isLast } from "./event-queue.ts";
import { EVENT_TYPES, type LeaseEvent, type LeaseEventOf, requireListener } from "./lease-event.ts";

type Listener = (event: LeaseEvent) => void;

export class EventHub {
  readonly #listeners = new Map<LeaseEvent["type"], Set<Listener>>();
  readonly #readers = new Set<EventQueue>();
  /** The last event, once it has been told. */
  #last: LeaseEvent | undefined;

  /** Returns what ends it. Throws {@link UsageError}. */
  on<Type extends LeaseEvent["type"]>(
    type: Type,
    listener: (event: LeaseEventOf<Type>) => void,
  ): () => void {
    requireListener(type, listener, EVENT_TYPES);
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners);
    listeners.add(listener as Listener);
    return () => void listeners.delete(listener as Listener);
  }

  /** All events from now on; of a lease that is over, the last. */
  events(): AsyncGenerator<LeaseEvent, void> {
    const queue = new EventQueue((ended) => this.#readers.delete(ended));
    this.#readers.add(queue);
    if (this.#last) queue.push(this.#last);
    return queue;
  }

  tell(event: LeaseEvent): void {
    // Frozen, so that one listener cannot change the event that the next one gets.
    Object.freeze(event);
    if (isLast(event)) this.#last = event;
    for (const reader of [...this.#readers]) reader.push(event);
    for (const listener of [...(this.#listeners.get(event.type) ?? [])]) notify(listener, event);
  }
}
