/** Hands out places in a lease's registered memory: first fit over a list of free ranges, 64-byte steps, no I/O. */
import { OutOfLeaseMemory, UsageError } from "../../base/errors.ts";

/** Every allocation starts at a multiple of this: one cache line. */
export const ALIGNMENT = 64;

interface Range {
  offset: number;
  bytes: number;
}

export class Arena {
  /** Sorted by offset; neighbours are merged. */
  readonly #free: Range[];
  readonly #taken = new Map<number, number>();

  constructor(bytes: number) {
    this.#free = [{ offset: 0, bytes: bytes - (bytes % ALIGNMENT) }];
  }

  get freeBytes(): number {
    return this.#free.reduce((sum, range) => sum + range.bytes, 0);
  }

  /** The offset of `bytes` bytes (zero takes a line as well). Throws {@link OutOfLeaseMemory} when no free range is long enough. */
  allocate(bytes: number): number {
    const needed = Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
    const at = this.#free.findIndex((range) => range.bytes >= needed);
    const range = this.#free[at];
    if (!range) throw new OutOfLeaseMemory(bytes, this.freeBytes);
    const { offset } = range;
    if (range.bytes === needed) this.#free.splice(at, 1);
    else this.#free[at] = { offset: offset + needed, bytes: range.bytes - needed };
    this.#taken.set(offset, needed);
    return offset;
  }

  /** Whether an allocation starts there. */
  holds(offset: number): boolean {
    return this.#taken.has(offset);
  }

  /** Gives an allocation back by its offset. Throws {@link UsageError} when nothing was allocated there. */
  release(offset: number): void {
    const bytes = this.#taken.get(offset);
    if (bytes === undefined)
      throw new UsageError(
        "this buffer was not allocated by the lease, or was freed before; free each buffer once",
      );
    this.#taken.delete(offset);
    const next = this.#free.findIndex((range) => range.offset > offset);
    const at = next === -1 ? this.#free.length : next;
    this.#free.splice(at, 0, { offset, bytes });
    this.#merge(at);
    this.#merge(at - 1);
  }

  #merge(at: number): void {
    const left = this.#free[at];
    const right = this.#free[at + 1];
    if (left && right && left.offset + left.bytes === right.offset)
      this.#free.splice(at, 2, { offset: left.offset, bytes: left.bytes + right.bytes });
  }
}
