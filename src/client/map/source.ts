/** The inputs of a map, one at a time, from an iterable of either kind. */
import { UsageError } from "../../base/errors.ts";
import type { Source } from "./options.ts";
import { show } from "../../base/show.ts";

export class MapSource<Value> {
  /** No more values come. */
  exhausted = false;
  /** What `take` has found: valid until the next one. */
  value!: Value;
  readonly #iterator: Iterator<Value> | AsyncIterator<Value>;
  readonly #asynchronous: boolean;
  /** Called when a value has come, or the end, or an error, that `take` could not wait for. */
  readonly #onNews: () => void;
  #owed = false;
  /** The value that has come, in `value`, or the end. */
  #come: { found: boolean } | undefined;
  #failure: { error: unknown } | undefined;

  /** Throws {@link UsageError} when the values cannot be iterated. */
  constructor(values: Source<Value>, onNews: () => void) {
    const of = values as Partial<Iterable<Value> & AsyncIterable<Value>> | null | undefined;
    const asynchronous = of?.[Symbol.asyncIterator];
    const iterator = asynchronous?.call(of) ?? of?.[Symbol.iterator]?.call(of);
    if (iterator === undefined)
      throw new UsageError("map needs an iterable of inputs, such as an array or a generator");
    this.#iterator = iterator;
    this.#asynchronous = asynchronous !== undefined && asynchronous !== null;
    this.#onNews = onNews;
  }

  /** Whether there is a value now: it is in `value`. Throws what the iterable throws. */
  take(): boolean {
    if (this.exhausted) return false;
    if (this.#asynchronous) return this.#takeLater();
    try {
      return this.#accept((this.#iterator as Iterator<Value>).next());
    } catch (error) {
      this.exhausted = true;
      throw error;
    }
  }

  /** Returns the iterator. Resolves when the iterator has finished, but does not wait for one whose `next` is pending. */
  async close(): Promise<void> {
    if (this.exhausted) return;
    this.exhausted = true;
    const returned = (async () => await this.#iterator.return?.())();
    if (!this.#owed) await returned;
    else returned.catch(() => {});
  }

  #takeLater(): boolean {
    if (this.#failure) {
      this.exhausted = true;
      throw this.#failure.error;
    }
    const come = this.#come;
    if (come !== undefined) {
      this.#come = undefined;
      return come.found;
    }
    if (!this.#owed) void this.#ask();
    return false;
  }

  async #ask(): Promise<void> {
    this.#owed = true;
    try {
      this.#come = { found: this.#accept(await this.#iterator.next()) };
    } catch (error) {
      this.#failure = { error };
    }
    this.#owed = false;
    this.#onNews();
  }

  #accept(step: IteratorResult<Value>): boolean {
    if (typeof step !== "object" || step === null)
      throw new UsageError(
        `the iterator of a map's inputs must return objects; it has returned ${show(step)}; see the iterator protocol`,
      );
    if (step.done) {
      this.exhausted = true;
      return false;
    }
    this.value = step.value;
    return true;
  }
}
