/** A batch whose buffers lie with several parts of a lease: one batch on each, as one. */
import type { Batch } from "./batch.ts";
import { type Bytes, PromisedBatch } from "./promised-batch.ts";
import type { CallFailure } from "./public-batch.ts";

/** The batch of one part, and which of all inputs each of its rows has. */
export interface BatchMember {
  readonly batch: Batch;
  readonly rows: readonly number[];
}

export class JoinedBatch extends PromisedBatch {
  readonly size: number;
  readonly #members: readonly BatchMember[];
  #promise: Promise<Bytes> | undefined;

  constructor(members: readonly BatchMember[], settled: boolean) {
    super(settled);
    this.#members = members;
    this.size = members.reduce((sum, { rows }) => sum + rows.length, 0);
  }

  get ended(): number {
    return this.#members.reduce((sum, { batch }) => sum + batch.ended, 0);
  }

  get done(): boolean {
    return this.#members.every(({ batch }) => batch.done);
  }

  get failures(): readonly CallFailure[] {
    return this.#members
      .flatMap(({ batch, rows }) =>
        batch.failures.map(({ index, error }) => ({ index: rows[index]!, error })),
      )
      .toSorted((a, b) => a.index - b.index);
  }

  get(): Bytes {
    for (;;) {
      const left = this.#members.filter(({ batch }) => !batch.done);
      if (left.length === 0) return this.#outcome();
      const ended = left.reduce((sum, { batch }) => sum + batch.look(), 0);
      if (ended === 0) left[0]!.batch.block(true);
    }
  }

  protected asPromise(): Promise<Bytes> {
    return (this.#promise ??= Promise.allSettled(this.#members.map(({ batch }) => batch)).then(() =>
      this.#outcome(),
    ));
  }

  #outcome(): Bytes {
    this.throwFirst();
    const all = new Int32Array(new ArrayBuffer(4 * this.size));
    for (const { batch, rows } of this.#members) {
      const bytes = batch.outcome();
      for (const [row, index] of rows.entries()) all[index] = bytes[row]!;
    }
    return all;
  }
}
