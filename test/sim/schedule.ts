/** Virtual time: what will happen, in order. Of two things at the same moment, the one that was planned first comes first. */

export interface Planned {
  atNs: number;
  order: number;
  /** Who does what, for the trace. */
  who: string;
  what: string;
  /** Whether it was taken out of the schedule: then it is not run. */
  cancelled: boolean;
  run(): void;
}

export class Schedule {
  nowNs = 0;
  /** How much has happened. */
  steps = 0;
  readonly #heap: Planned[] = [];
  #order = 0;

  plan(atNs: number, who: string, what: string, run: () => void): Planned {
    const at = Math.max(atNs, this.nowNs);
    const planned = { atNs: at, order: this.#order++, who, what, run, cancelled: false };
    this.#heap.push(planned);
    this.#rise(this.#heap.length - 1);
    return planned;
  }

  /** What comes next, unless that is after `untilNs`. Time has then passed. */
  next(untilNs: number): Planned | undefined {
    for (;;) {
      const first = this.#heap[0];
      if (!first || first.atNs > untilNs) return undefined;
      const last = this.#heap.pop()!;
      if (last !== first) {
        this.#heap[0] = last;
        this.#sink();
      }
      if (first.cancelled) continue;
      this.nowNs = first.atNs;
      this.steps++;
      return first;
    }
  }

  #rise(at: number): void {
    const heap = this.#heap;
    const moved = heap[at]!;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (before(heap[parent]!, moved)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = moved;
  }

  #sink(): void {
    const heap = this.#heap;
    const moved = heap[0]!;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (before(moved, heap[child]!)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = moved;
  }
}

function before(a: Planned, b: Planned): boolean {
  return a.atNs < b.atNs || (a.atNs === b.atNs && a.order < b.order);
}
