/** What is in the slots of a worker's ring, for its lane: calls, each an object, and calls of batches, each a row of one. */
import type { BatchFlight } from "./batch-flight.ts";
import type { Flight } from "./call.ts";

export class InFlight {
  /** By slot. */
  readonly calls: (Flight | undefined)[];
  /** By slot, and which of its rows. */
  readonly batches: (BatchFlight | undefined)[];
  readonly rows: Int32Array;
  count = 0;
  /** Where the oldest is likely to be. */
  oldest = 0;

  constructor(slots: number) {
    this.calls = new Array(slots).fill(undefined);
    this.batches = new Array(slots).fill(undefined);
    this.rows = new Int32Array(slots);
  }

  get slots(): number {
    return this.rows.length;
  }

  /** Slots that hold nothing. Those of abandoned calls are among them. */
  get free(): number {
    return this.rows.length - this.count;
  }

  add(slot: number, call: Flight): void {
    this.calls[slot] = call;
    this.count++;
  }

  addRow(slot: number, batch: BatchFlight, row: number): void {
    this.batches[slot] = batch;
    this.rows[slot] = row;
    this.count++;
  }

  forget(slot: number): void {
    this.calls[slot] = undefined;
    this.batches[slot] = undefined;
    this.count--;
    if (slot === this.oldest) this.oldest = (slot + 1) & (this.rows.length - 1);
  }

  /** Whether a call is in the slot. */
  has(slot: number): boolean {
    return this.calls[slot] !== undefined || this.batches[slot] !== undefined;
  }

  /** The slot of the n-th call in flight, from the oldest on; -1 without one. */
  nth(n: number): number {
    const slots = this.rows.length;
    for (let i = 0, left = n; i < slots; i++) {
      const slot = (this.oldest + i) & (slots - 1);
      if (this.has(slot) && --left <= 0) return slot;
    }
    return -1;
  }

  clear(): void {
    this.calls.fill(undefined);
    this.batches.fill(undefined);
    this.count = 0;
  }
}
