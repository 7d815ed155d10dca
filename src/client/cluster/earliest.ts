/** Places of a queue, of which the earliest is asked for while any may come back or leave: a binary heap that knows where each lies. */

/** A place in the order of arrival. */
export interface Ordered {
  readonly order: number;
}

export class Earliest<Place extends Ordered> {
  /** None comes before its parent, at half its index. */
  readonly #heap: Place[] = [];
  readonly #indexes = new Map<Place, number>();

  get first(): Place | undefined {
    return this.#heap[0];
  }

  /** Does nothing when the place is here. */
  add(place: Place): void {
    if (!this.#indexes.has(place)) this.#raise(this.#heap.length, place);
  }

  /** Does nothing when the place is not here. */
  delete(place: Place): void {
    const index = this.#indexes.get(place);
    if (index === undefined) return;
    this.#indexes.delete(place);
    const last = this.#heap.pop()!;
    if (last === place) return;
    const parent = this.#heap[(index - 1) >> 1];
    if (index > 0 && parent!.order > last.order) this.#raise(index, last);
    else this.#lower(index, last);
  }

  #raise(from: number, place: Place): void {
    let index = from;
    while (index > 0) {
      const above = (index - 1) >> 1;
      const parent = this.#heap[above]!;
      if (parent.order <= place.order) break;
      this.#put(index, parent);
      index = above;
    }
    this.#put(index, place);
  }

  #lower(from: number, place: Place): void {
    let index = from;
    for (;;) {
      let below = 2 * index + 1;
      const [left, right] = [this.#heap[below], this.#heap[below + 1]];
      if (right && right.order < left!.order) below++;
      const child = this.#heap[below];
      if (!child || child.order >= place.order) break;
      this.#put(index, child);
      index = below;
    }
    this.#put(index, place);
  }

  #put(index: number, place: Place): void {
    this.#heap[index] = place;
    this.#indexes.set(place, index);
  }
}
