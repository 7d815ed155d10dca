/**
 * Requests in the order of their arrival: one at a time looks for room, so that small ones do not starve a large one. A move wakes
 * only the request whose turn it is, or else a thousand requests at once would wake each other a million times.
 */
import { Earliest } from "./earliest.ts";

export interface Turn {
  /** Whether no earlier request is looking for room. */
  readonly first: boolean;
  /** Whether an earlier request has found too little room and waits for more. */
  readonly behindWaiting: boolean;
  /** Resolves when the request is {@link first}, or has left; if `impatient`, also when it is {@link behindWaiting}. */
  comes(impatient: boolean): Promise<void>;
  /** The request has what it needs so far: lets later requests look for room. */
  pause(): void;
  /** The request looks for room again, from its old place. */
  resume(): void;
  /** The request has found too little room. */
  wait(): void;
  /** Removes the request from the queue. */
  leave(): void;
}

export class Turns {
  #arrivals = 0;
  readonly #queue: Queue = {
    looking: new Earliest(),
    waiting: new Earliest(),
    impatient: new Set(),
  };

  enter(): Turn {
    return new Place(this.#queue, this.#arrivals++);
  }
}

interface Queue {
  /** All that have not paused, those that wait among them. */
  readonly looking: Earliest<Place>;
  readonly waiting: Earliest<Place>;
  /** They do not stay behind one that waits. */
  readonly impatient: Set<Place>;
}

class Place implements Turn {
  readonly order: number;
  readonly #queue: Queue;
  #left = false;
  #call: PromiseWithResolvers<void> | undefined;

  constructor(queue: Queue, order: number) {
    this.#queue = queue;
    this.order = order;
    queue.looking.add(this);
  }

  get first(): boolean {
    return !this.#isBehind(this.#queue.looking);
  }

  get behindWaiting(): boolean {
    return this.#isBehind(this.#queue.waiting);
  }

  comes(impatient: boolean): Promise<void> {
    this.#call ??= Promise.withResolvers<void>();
    const { promise } = this.#call;
    if (this.first || (impatient && this.behindWaiting)) this.call();
    else if (impatient) this.#queue.impatient.add(this);
    return promise;
  }

  /** Wakes the request if it waits for its turn. */
  call(): void {
    this.#queue.impatient.delete(this);
    this.#call?.resolve();
    this.#call = undefined;
  }

  pause(): void {
    this.#queue.waiting.delete(this);
    this.#queue.looking.delete(this);
    this.#queue.looking.first?.call();
  }

  resume(): void {
    this.#queue.waiting.delete(this);
    if (!this.#left) this.#queue.looking.add(this);
  }

  wait(): void {
    if (this.#left) return;
    this.#queue.waiting.add(this);
    for (const other of this.#queue.impatient) if (other.behindWaiting) other.call();
  }

  leave(): void {
    this.#left = true;
    this.pause();
    this.call();
  }

  #isBehind({ first }: Earliest<Place>): boolean {
    return !this.#left && first !== undefined && first.order < this.order;
  }
}
