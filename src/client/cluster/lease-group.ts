/** Leases on several nodes that were taken together, used and released as one. */
import type { AnyDefinition } from "../../function/define-function.ts";
import type { BroadcastResult } from "../map/broadcast.ts";
import { joinHandles } from "../functions/handles.ts";
import type { Lease, NameOf } from "../lease/lease.ts";
import type { TypedArray } from "../memory/lease-memory.ts";
import {
  EVENT_TYPES,
  type LeaseEvent,
  type LeaseEventOf,
  requireListener,
} from "../events/lease-event.ts";
import { type MapMethod, mapMethod } from "../map/map.ts";
import { type BroadcastOptions, FunctionOptions } from "../options/call-options.ts";
import { readOptions } from "../../options/read.ts";
import { releaseAll } from "../lease/release-all.ts";
import type { CallableOf, FunctionOf, TypedNameOf } from "../functions/typed-function.ts";

/**
 * Workers on one node or several, for one module, until released.
 *
 * @example
 * ```ts
 * await using group = await rf.allocate("./square.ts", { workers: 40 });
 * const squares = group.map("square", numbers, {
 *   inputBytes: 8,
 *   outputBytes: 8,
 *   write: (n, input) => new DataView(input.buffer, input.byteOffset).setFloat64(0, n),
 *   read: (output) => new DataView(output.buffer, output.byteOffset).getFloat64(0),
 * });
 * for await (const square of squares) total += square;
 * ```
 */
export class LeaseGroup<Module = unknown> implements AsyncDisposable {
  /** Each has memory of its own: a buffer of one cannot be used with another. */
  readonly leases: readonly Lease<Module>[];
  /** The name of the node that each lease is on. */
  readonly nodes: readonly string[];
  /**
   * As {@link Lease.map}, over all workers of all leases. Inputs are copied, since each lease has memory of its own. When a lease is
   * lost, calls that were in flight there go on elsewhere as far as `retries` allows; those after them go to the others anyway.
   *
   * @throws {WorkerLost} a worker died, and its call may not be repeated; or all have
   * @throws {OutOfLeaseMemory} no lease has room for the buffers of a call
   * @throws {FunctionError} what the function threw
   */
  readonly map: MapMethod<NameOf<Module>, TypedArray>;
  readonly #onReleased: () => Promise<void>;
  #released: Promise<void> | undefined;

  /** @internal */
  constructor(
    members: readonly { lease: Lease<Module>; node: string }[],
    onReleased: () => Promise<void>,
  ) {
    this.leases = Object.freeze(members.map(({ lease }) => lease));
    this.nodes = Object.freeze(members.map(({ node }) => node));
    this.map = mapMethod(this.leases.map(({ parts }) => parts));
    this.#onReleased = onReleased;
  }

  /** How many workers all leases have together. */
  get workers(): number {
    return this.leases.reduce((sum, { workers }) => sum + workers, 0);
  }

  /** The functions that can be called. */
  get functions(): readonly string[] {
    return this.leases[0]?.functions ?? [];
  }

  /** As {@link Lease.broadcast}, on the workers of all leases: those of the first lease first. */
  async broadcast(
    name: NameOf<Module>,
    input: TypedArray,
    options?: BroadcastOptions,
  ): Promise<BroadcastResult[]> {
    const each = this.leases.map((lease) => lease.broadcast(name, input, options));
    return (await Promise.all(each)).flat().map((result, worker) => ({ ...result, worker }));
  }

  /**
   * As {@link Lease.function}, for calls that go to whichever lease has the fewest. The views of a struct lie in the first lease's
   * memory, those of its `slot()`s in one lease's after another's.
   *
   * @throws {NoSuchFunction}
   * @throws {UsageError} the function works on buffers, or is not the one that is defined
   */
  function<Definition extends AnyDefinition>(
    name: string,
    options: { definition: Definition },
  ): CallableOf<Definition>;
  function<M = Module, Name extends TypedNameOf<M> = TypedNameOf<M>>(
    name: Name,
  ): FunctionOf<M, Name>;
  function(name: string, options?: { definition: AnyDefinition }): unknown {
    readOptions("function", FunctionOptions, options);
    return joinHandles(
      this.leases.map((lease) => ({
        workers: lease.workers,
        slots: lease.parts.slots,
        handle: options ? lease.function(name, options) : lease.function<unknown>(name),
      })),
    );
  }

  /**
   * Calls `listener` when it happens to one of the leases: `"renewed"`, `"revoking"`, `"worker-lost"`, `"log"`, `"lost"`, `"released"`.
   * Returns what ends that.
   */
  on<Type extends LeaseEvent["type"]>(
    type: Type,
    listener: (event: LeaseEventOf<Type>, lease: Lease<Module>) => void,
  ): () => void {
    requireListener(type, listener, EVENT_TYPES);
    const ends = this.leases.map((lease) => lease.on(type, (event) => listener(event, lease)));
    return () => ends.forEach((end) => end());
  }

  /** Gives the workers and the memory of all leases back. */
  release(): Promise<void> {
    return (this.#released ??= this.#release());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  async #release(): Promise<void> {
    try {
      await releaseAll(this.leases);
    } finally {
      await this.#onReleased();
    }
  }
}
