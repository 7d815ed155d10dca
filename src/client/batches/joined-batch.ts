/** A batch whose buffers lie with several parts of a lease: one batch on each, as one. */
import { ofInput } from "../failures/of-input.ts";
import type { Batch } from "./batch.ts";
import type { CallBatch, CallFailure } from "./public-batch.ts";

/** The batch of one part, and which of all inputs each of its rows has. */
export interface BatchMember {
  readonly batch: Batch;
  readonly rows: readonly number[];
}

type Bytes = Int32Array<ArrayBuffer>;

export class JoinedBatch implements CallBatch {
  readonly size: number;
  readonly #members: readonly BatchMember[];
  readonly #settled: boolean;
  #promise: Promise<Bytes> | undefined;

  constructor(members: readonly BatchMember[], settled: boolean) {
    this.#members = members;
    this.#settled = settled;
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

  then<A = Bytes, B = never>(
    onFulfilled?: ((bytes: Bytes) => A | PromiseLike<A>) | null,
    onRejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#asPromise().then(onFulfilled, onRejected);
  }

  catch<B = never>(
    onRejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<Bytes | B> {
    return this.#asPromise().catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<Bytes> {
    return this.#asPromise().finally(onFinally);
  }

  #asPromise(): Promise<Bytes> {
    return (this.#promise ??= Promise.allSettled(this.#members.map(({ batch }) => batch)).then(() =>
      this.#outcome(),
    ));
  }

  #outcome(): Bytes {
    const [first] = this.failures;
    if (first !== undefined && !this.#settled) throw ofInput(first.error, first.index);
    const all = new Int32Array(new ArrayBuffer(4 * this.size));
    for (const { batch, rows } of this.#members) {
      const bytes = batch.outcome();
      for (const [row, index] of rows.entries()) all[index] = bytes[row]!;
    }
    return all;
  }
}
