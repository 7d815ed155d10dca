/** Many calls on values: as one asynchronous iteration, or one on each worker; for handles of typed functions. */
import type { SubmitOptions } from "./call-options.ts";
import { ofInput } from "./map-failure.ts";
import { type MapOptions, type Settled, type Source, readMapOptions } from "./map-options.ts";

/** Ways to make many calls of one function. */
export interface ManyCalls<Input, Output> {
  /**
   * Calls the function once on every worker with the same value, and resolves to what each came to, by worker: one that is lost is
   * there as `rejected`.
   */
  broadcast(value: Input, options?: BroadcastOptions): Promise<PromiseSettledResult<Output>[]>;
  /**
   * Calls the function once per value, with as many calls in flight as the workers take, and yields the results in the order of the
   * values (`ordered: false`: as they finish). Values are taken as there is room for them. The first failure ends it, with the
   * value's `index`; with `settled: true` failures are yielded as items instead. Leaving the loop waits for the calls in flight.
   *
   * @example
   * ```ts
   * for await (const value of price.map(options)) total += value;
   * ```
   */
  map(
    values: Source<Input>,
    options: MapOptions & { settled: true },
  ): AsyncGenerator<Settled<Output>, void>;
  map(values: Source<Input>, options?: MapOptions): AsyncGenerator<Output, void>;
}

/** One value on its way. */
interface Item {
  index: number;
  /** Undefined while its call is in flight. */
  outcome: Settled<unknown> | undefined;
}

type Call = (value: never, options: SubmitOptions) => PromiseLike<unknown>;
type BroadcastOptions = Pick<SubmitOptions, "deadlineMs" | "durationMs" | "signal" | "onProgress">;

/** The `map` of a handle that is called with `call`. */
export function mapOf(
  call: Call,
  { workers, slots }: { workers: number; slots: number },
): ManyCalls<unknown, unknown>["map"] {
  const each = new Array<number>(workers).fill(slots);
  return ((values: Source<unknown>, options: MapOptions = {}) =>
    mapValues(call, values, options, each)) as ManyCalls<unknown, unknown>["map"];
}

/** The `broadcast` of a handle that is called with `call`. */
export function broadcastOf(
  call: Call,
  { workers }: { workers: number },
): ManyCalls<unknown, unknown>["broadcast"] {
  return async (value, options) =>
    await Promise.allSettled(
      Array.from({ length: workers }, (_, worker) => call(value as never, { ...options, worker })),
    );
}

/** `slots` are those of each worker; they bound how many calls are in flight. */
export async function* mapValues(
  call: Call,
  values: Source<unknown>,
  options: MapOptions,
  slots: readonly number[],
): AsyncGenerator<unknown, void> {
  const { concurrency, ordered, settled } = readMapOptions(options, slots);
  const { deadlineMs, durationMs, retries, signal } = options;
  const callOptions: SubmitOptions = {
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
    ...(durationMs === undefined ? {} : { durationMs }),
    ...(retries === undefined ? {} : { retries }),
    ...(signal === undefined ? {} : { signal }),
  };
  const source = new Pulling(values);
  /** In the order of the values, those that are yielded next first. */
  const items: Item[] = [];
  let inFlight = 0;
  let changed = Promise.withResolvers<void>();
  const start = (value: unknown, index: number): void => {
    const item: Item = { index, outcome: undefined };
    items.push(item);
    inFlight++;
    void run(item, value);
  };
  const run = async (item: Item, value: unknown): Promise<void> => {
    const { index } = item;
    try {
      const result = await call(value as never, callOptions);
      item.outcome = { status: "fulfilled", index, value: result };
    } catch (reason) {
      item.outcome = { status: "rejected", index, reason };
    }
    inFlight--;
    changed.resolve();
  };
  try {
    for (let index = 0; ;) {
      while (items.length < concurrency && source.take(() => changed.resolve()))
        start(source.value, index++);
      const at = ordered ? 0 : items.findIndex(({ outcome }) => outcome !== undefined);
      const outcome = items[at]?.outcome;
      if (outcome !== undefined) {
        items.splice(at, 1);
        if (settled) yield outcome;
        else if (outcome.status === "fulfilled") yield outcome.value;
        else throw ofInput(outcome.reason, outcome.index);
        continue;
      }
      if (source.failure !== undefined && inFlight === 0) throw source.failure.error;
      if (source.over && items.length === 0) return;
      await changed.promise;
      changed = Promise.withResolvers();
    }
  } finally {
    await source.close();
    while (inFlight > 0) {
      await changed.promise;
      changed = Promise.withResolvers();
    }
  }
}

/** Takes values from an iterable of either kind, one at a time. */
class Pulling {
  /** The value that was taken last. */
  value: unknown;
  /** No more will come. */
  over = false;
  failure: { error: unknown } | undefined;
  readonly #sync: Iterator<unknown> | undefined;
  readonly #async: AsyncIterator<unknown> | undefined;
  #waiting = false;
  #arrived: { value: unknown } | undefined;

  constructor(values: Source<unknown>) {
    if (Symbol.asyncIterator in values) this.#async = values[Symbol.asyncIterator]();
    else this.#sync = values[Symbol.iterator]();
  }

  /** Whether there is another value now. Where it is still to come, `onChange` is called once it is known. */
  take(onChange: () => void): boolean {
    if (this.over) return false;
    if (this.#sync !== undefined) {
      const { done, value } = this.#sync.next();
      if (done) this.over = true;
      else this.value = value;
      return !done;
    }
    if (this.#arrived !== undefined) {
      this.value = this.#arrived.value;
      this.#arrived = undefined;
      return true;
    }
    if (!this.#waiting) void this.#pull(onChange);
    return false;
  }

  /** The rest is not wanted. */
  async close(): Promise<void> {
    if (this.over) return;
    this.over = true;
    await (this.#sync ?? this.#async)?.return?.();
  }

  async #pull(onChange: () => void): Promise<void> {
    this.#waiting = true;
    try {
      const { done, value } = await this.#async!.next();
      if (done) this.over = true;
      else this.#arrived = { value };
    } catch (error) {
      this.over = true;
      this.failure = { error };
    }
    this.#waiting = false;
    onChange();
  }
}
