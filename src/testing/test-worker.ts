/**
 * A worker without a node: runs the functions of a module in this process, for unit tests. Values are checked, encoded and decoded
 * as on their way to a node, errors arrive as they do from one, and functions are told what a worker tells them.
 */
import { UsageError } from "../base/errors.ts";
import { FunctionTable } from "../client/calls/function-table.ts";
import { LeaseMemory, requireView } from "../client/memory/lease-memory.ts";
import {
  type FunctionOf,
  type TypedNameOf,
  openFunction,
} from "../client/functions/typed-function.ts";
import { readOptions } from "../options/read.ts";
import { show } from "../base/show.ts";
import type { LoadedModule } from "../executor/modules/loaded-module.ts";
import { functionsOf } from "../executor/modules/loaded-module.ts";
import type { LogLevel } from "../function/context.ts";
import type { FunctionNames } from "../function/names.ts";
import { InProcessCalls } from "./in-process-calls.ts";
import {
  DEFAULT_MEMORY_BYTES,
  DEFAULT_OUTPUT_BYTES,
  TestCallOptions,
  TestWorkerOptions,
} from "./test-options.ts";

/** A line that a function has written with `ctx.log`. */
export interface TestLine {
  level: LogLevel;
  message: string;
  data: unknown;
}

/** What a function has said with `ctx.progress`. */
export interface TestProgress {
  fraction: number;
  message: string | undefined;
}

/** What a lease has by default. */
const SLOTS = 64;

/**
 * Prepares a module as a worker does, and runs its `init`.
 *
 * @example
 * ```ts
 * import { testWorker } from "rfaas/testing";
 * import * as module from "./price.ts";
 *
 * test("prices", async () => {
 *   await using worker = await testWorker(module);
 *   const price = worker.function("price");
 *   expect(await price({ spot: 42, strike: 40 })).toBe(2);
 *   expect(worker.logs).toEqual([]);
 * });
 * ```
 * @throws what the node would refuse the module with: it has no functions, a schema is none, its `init` has thrown
 */
export async function testWorker<Module extends object>(
  module: Module,
  options?: TestWorkerOptions,
): Promise<TestWorker<Module>> {
  const read = readOptions("testWorker", TestWorkerOptions, options);
  if (typeof module !== "object" || module === null)
    throw new UsageError(
      `testWorker needs the module's namespace (import * as module); it is ${show(module)}`,
    );
  const loaded = await functionsOf(module as Record<string, unknown>, "the module");
  const worker = new TestWorker<Module>(loaded, read);
  await worker.restart();
  return worker;
}

export class TestWorker<Module> implements AsyncDisposable {
  /** What functions have logged, in order. */
  readonly logs: TestLine[] = [];
  /** What functions have reported, in order. */
  readonly progress: TestProgress[] = [];
  readonly #loaded: LoadedModule;
  readonly #functions: FunctionTable;
  readonly #memory: LeaseMemory;
  readonly #calls: InProcessCalls;
  #started = false;

  /** @internal */
  constructor(loaded: LoadedModule, options: TestWorkerOptions) {
    const { worker = 0, workers = 1, cores = 1, memoryBytes = DEFAULT_MEMORY_BYTES } = options;
    const memory = new ArrayBuffer(memoryBytes);
    const region = {
      arenaBytes: memoryBytes,
      lend: (_: number, bytes: number) => new ArrayBuffer(bytes),
      recall: () => true,
    };
    this.#loaded = loaded;
    this.#functions = new FunctionTable("the module", loaded.exports);
    this.#memory = new LeaseMemory(region, { headroomBytes: 0, pin: undefined });
    this.#calls = new InProcessCalls(loaded, { worker, workers, cores, memory }, this.#memory, {
      log: (level, message, data) => this.logs.push({ level, message, data }),
      progress: (fraction, message) => this.progress.push({ fraction, message }),
    });
  }

  /** What the worker keeps between calls: `ctx.state`. */
  get state(): Map<string, unknown> {
    return this.#calls.scope.state;
  }

  /**
   * A function that was made with `defineFunction`, called as {@link Lease.function} lets it be called.
   *
   * @throws {NoSuchFunction} the module has no such function
   * @throws {UsageError} it works on buffers: see {@link call}
   */
  function<Name extends TypedNameOf<Module>>(name: Name): FunctionOf<Module, Name> {
    const description = this.#functions.describe(name);
    const index = this.#loaded.exports.functions.indexOf(name);
    const submit = this.#calls.submit.bind(this.#calls, name, index);
    const fetchIndex = this.#loaded.functions.length - 1;
    return openFunction(name, description, undefined, {
      memory: this.#memory,
      workers: 1,
      slots: SLOTS,
      firstWorker: 0,
      nextWorker: () => 0,
      invoke: (input, output, options) => submit(input, output, options).get(),
      submit,
      fetch: (input, output, options) =>
        this.#calls.submit(name, fetchIndex, input, output, options),
      onOver: () => () => {},
      holds: (call) => this.#calls.holds(call),
    }) as FunctionOf<Module, Name>;
  }

  /**
   * Calls a function on memory with a copy of `input`; resolves to what it wrote.
   *
   * @throws {FunctionError} what the function threw
   */
  async call(
    name: unknown extends Module ? string : FunctionNames<Module>,
    input: ArrayBufferView,
    given?: TestCallOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { outputBytes = DEFAULT_OUTPUT_BYTES, ...options } = readOptions(
      "the call",
      TestCallOptions,
      given,
    );
    const index = this.#functions.indexOf(name);
    requireView(input, "the input");
    const from = this.#memory.allocate(Uint8Array, input.byteLength);
    const to = this.#memory.allocate(Uint8Array, outputBytes);
    from.set(new Uint8Array(input.buffer, input.byteOffset, input.byteLength));
    const call = this.#calls.submit(name, index, from, to, options);
    try {
      return to.slice(0, await call);
    } finally {
      for (const view of [from, to]) this.#memory.free(view);
    }
  }

  /** As a worker that is started anew: after its `dispose`, with an empty state, and with its `init`. */
  async restart(): Promise<void> {
    const { hooks } = this.#loaded;
    if (this.#started) await hooks?.dispose?.(this.#calls.scope);
    this.#started = true;
    this.#calls.startScope();
    await hooks?.init?.(this.#calls.scope);
  }

  /** Runs the module's `dispose`. Throws {@link UsageError} when calls have not ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { hooks } = this.#loaded;
    const started = this.#started;
    this.#started = false;
    this.#functions.close();
    if (started) await hooks?.dispose?.(this.#calls.scope);
    if (this.#calls.running > 0)
      throw new UsageError(
        `${this.#calls.running === 1 ? "a call has" : `${this.#calls.running} calls have`} not ended; await every call before the test does`,
      );
  }
}
