/** A pool as its program sees it: workers that come and go with the calls there are. */
import type { FunctionOf, TypedNameOf } from "../functions/typed-function.ts";
import type { ManyCalls } from "../map/values.ts";
import type { SubmitOptions } from "../options/call-options.ts";

/** A function of a pool, called with values; `map` takes values as workers have room for them. */
export type PoolFunction<Callable> = Callable extends (
  value: infer Input,
  options?: SubmitOptions,
) => Promise<infer Output>
  ? ((value: Input, options?: SubmitOptions) => Promise<Output>) &
      Pick<ManyCalls<Input, Output>, "map">
  : never;

/**
 * Workers for one module that grow with the queue of calls and shrink when idle, from {@link Invoker.pool}. What is lost is replaced.
 *
 * @example
 * ```ts
 * await using pool = await rf.pool<typeof import("./fn.ts")>("./fn.ts", { min: 1, max: 8, idleMs: 10_000 });
 * const price = pool.function("price");
 * const value = await price({ spot: 42, strike: 40 }, { deadlineMs: 500 });
 * ```
 */
export interface Pool<Module = unknown> extends AsyncDisposable {
  /** Workers that it has now. */
  readonly workers: number;
  /** Calls that workers have. */
  readonly inFlight: number;
  /** Calls that wait for one. */
  readonly queued: number;

  /**
   * A handle to call a function that was defined with `defineFunction`, on values. A call goes to the worker with the fewest, and waits while
   * all have `concurrency` calls, within its deadline. Leave its value as it is until it has ended.
   *
   * @throws {QueueFull} `maxQueued` calls wait already, unless the pool lets them wait (`whenFull: "wait"`)
   */
  function<M = Module, Name extends TypedNameOf<M> = TypedNameOf<M>>(
    name: Name,
  ): PoolFunction<FunctionOf<NoInfer<M>, Name>>;

  /** Takes no more calls, and gives all workers back when those that it has have ended. */
  close(): Promise<void>;
}
