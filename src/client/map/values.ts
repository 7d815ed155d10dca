/** Many calls on values: as one asynchronous iteration, or one on each worker; for handles of typed functions. */
import { ofInput } from "../failures/of-input.ts";
import { type Settled, type Source, termsOf } from "./options.ts";
import { MapSource } from "./source.ts";
import { MapOptions, type SubmitOptions, ValueBroadcastOptions } from "../options/call-options.ts";
import { readOptions } from "../../options/read.ts";
import { onAbort, reasonOf } from "../../base/waiting.ts";

/** Ways to make many calls of one function. */
export interface ManyCalls<Input, Output> {
  /**
   * Calls the function once on every worker with the same value, and resolves to what each came to, by worker: one that is lost is
   * there as `rejected`.
   */
  broadcast(value: Input, options?: ValueBroadcastOptions): Promise<PromiseSettledResult<Output>[]>;
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

/** One value in flight. */
interface Item {
  index: number;
  /** Undefined while its call is in flight. */
  outcome: Settled<unknown> | undefined;
}

/** The consumer of the results. */
interface Reader {
  /** Set when the consumer has left the loop. */
  left: boolean;
  wake(): void;
}

type Call = (value: never, options: SubmitOptions) => PromiseLike<unknown>;

/** The `map` of a handle that is called with `call`. */
export function mapOf(
  call: Call,
  { workers, slots }: { workers: number; slots: number },
): ManyCalls<unknown, unknown>["map"] {
  const each = new Array<number>(workers).fill(slots);
  return ((values: Source<unknown>, options?: MapOptions) => {
    const reader: Reader = { left: false, wake() {} };
    const read = readOptions("map", MapOptions, options);
    const results = mapValues(call, values, read, each, reader);
    // A generator with a pending `next` handles no other request until that has settled.
    const leave = results.return.bind(results);
    results.return = (value) => {
      reader.left = true;
      reader.wake();
      return leave(value);
    };
    return results;
  }) as ManyCalls<unknown, unknown>["map"];
}

/** The `broadcast` of a handle that is called with `call`. */
export function broadcastOf(
  call: Call,
  { workers, firstWorker }: { workers: number; firstWorker: number },
): ManyCalls<unknown, unknown>["broadcast"] {
  return async (value, given) => {
    const options = readOptions("broadcast", ValueBroadcastOptions, given);
    return await Promise.allSettled(
      Array.from({ length: workers }, (_, index) =>
        call(value as never, { ...options, worker: firstWorker + index }),
      ),
    );
  };
}

/** `slots` are those of each worker; they bound how many calls are in flight. */
async function* mapValues(
  call: Call,
  values: Source<unknown>,
  options: MapOptions,
  slots: readonly number[],
  reader: Reader,
): AsyncGenerator<unknown, void> {
  const { concurrency, ordered, settled, signal } = termsOf(options, slots);
  const { concurrency: _, ordered: __, settled: ___, ...callOptions } = options;
  let changed = Promise.withResolvers<void>();
  const tell = (): void => changed.resolve();
  const source = new MapSource(values, tell);
  reader.wake = tell;
  /** In the order of the values, those that are yielded next first. */
  const items: Item[] = [];
  let inFlight = 0;
  /** What the values' own iterator has thrown. */
  let failure: { error: unknown } | undefined;
  const run = async (item: Item, value: unknown): Promise<void> => {
    const { index } = item;
    try {
      const result = await call(value as never, callOptions);
      item.outcome = { status: "fulfilled", index, value: result };
    } catch (reason) {
      item.outcome = { status: "rejected", index, reason };
    }
    inFlight--;
    tell();
  };
  const take = (): boolean => {
    try {
      return source.take();
    } catch (error) {
      failure = { error };
      return false;
    }
  };
  const endHearing = signal && onAbort(signal, tell);
  try {
    for (let index = 0; ;) {
      while (items.length < concurrency && !signal?.aborted && take()) {
        const item: Item = { index: index++, outcome: undefined };
        items.push(item);
        inFlight++;
        void run(item, source.value);
      }
      const at = ordered ? 0 : items.findIndex(({ outcome }) => outcome !== undefined);
      const outcome = items[at]?.outcome;
      if (outcome !== undefined) {
        items.splice(at, 1);
        yield settled ? outcome : valueOf(outcome);
        continue;
      }
      if (reader.left) return;
      if (signal?.aborted) throw reasonOf(signal);
      if (failure !== undefined && items.length === 0) throw failure.error;
      if (source.exhausted && items.length === 0) return;
      await changed.promise;
      changed = Promise.withResolvers();
    }
  } finally {
    endHearing?.();
    try {
      await source.close();
    } finally {
      while (inFlight > 0) {
        await changed.promise;
        changed = Promise.withResolvers();
      }
    }
  }
}

function valueOf(outcome: Settled<unknown>): unknown {
  if (outcome.status === "fulfilled") return outcome.value;
  throw ofInput(outcome.reason, outcome.index);
}
