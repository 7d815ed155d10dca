/** What batches of one part and of several have in common: they are promises, and fail with the first of their inputs that has. */
import { ofInput } from "../failures/of-input.ts";
import type { CallBatch, CallFailure } from "./public-batch.ts";

export type Bytes = Int32Array<ArrayBuffer>;

export abstract class PromisedBatch implements CallBatch {
  readonly #settled: boolean;

  constructor(settled: boolean) {
    this.#settled = settled;
  }

  abstract readonly size: number;
  abstract readonly ended: number;
  abstract readonly done: boolean;
  abstract readonly failures: readonly CallFailure[];
  abstract get(): Bytes;

  /** Has the event loop look for answers from then on. */
  protected abstract asPromise(): Promise<Bytes>;

  then<A = Bytes, B = never>(
    onFulfilled?: ((bytes: Bytes) => A | PromiseLike<A>) | null,
    onRejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.asPromise().then(onFulfilled, onRejected);
  }

  catch<B = never>(
    onRejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<Bytes | B> {
    return this.asPromise().catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<Bytes> {
    return this.asPromise().finally(onFinally);
  }

  /** Throws what a batch that is done ends with, unless its program takes failures one by one. */
  protected throwFirst(): void {
    if (this.#settled) return;
    const [first] = this.failures;
    if (first !== undefined) throw ofInput(first.error, first.index);
  }
}
