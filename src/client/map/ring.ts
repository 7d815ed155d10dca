/** A queue of bounded length that allocates nothing. */
export class Ring<T> {
  readonly #items: (T | undefined)[];
  readonly #mask: number;
  #head = 0;
  length = 0;

  /** For at least `capacity` items. */
  constructor(capacity: number) {
    const size = 2 ** Math.ceil(Math.log2(Math.max(2, capacity)));
    this.#items = new Array(size).fill(undefined);
    this.#mask = size - 1;
  }

  get first(): T | undefined {
    return this.#items[this.#head];
  }

  push(item: T): void {
    if (this.length > this.#mask) throw new RangeError("the ring is full");
    this.#items[(this.#head + this.length++) & this.#mask] = item;
  }

  shift(): T | undefined {
    const item = this.#items[this.#head];
    if (this.length === 0) return undefined;
    this.#items[this.#head] = undefined;
    this.#head = (this.#head + 1) & this.#mask;
    this.length--;
    return item;
  }
}
