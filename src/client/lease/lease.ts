/** A lease as its holder sees it: registered memory, and functions to call on leased workers, on one node or on many. */
import type { Polling } from "../../../ffi/layout.ts";
import type { AnyDefinition, FunctionKindName } from "../../function/define-function.ts";
import type { FunctionNames } from "../../function/names.ts";
import type { FabricName } from "../../fabric/registry.ts";
import type { FunctionDescription } from "../../protocol/module-report.ts";
import type { CallBatch } from "../batches/public-batch.ts";
import type { PublicCall } from "../calls/public-call.ts";
import type { LeaseEvent, LeaseEventOf } from "../events/lease-event.ts";
import type { CallableOf, FunctionOf, TypedNameOf } from "../functions/typed-function.ts";
import type { BroadcastResult } from "../map/broadcast.ts";
import type { MapMethod } from "../map/map.ts";
import type { MapInput } from "../map/options.ts";
import type { LeaseBuffer, TypedArray, TypedArrayClass } from "../memory/lease-memory.ts";
import type { Registration } from "../memory/registrations.ts";
import type { MemoryOptions, RenewOptions, WaitOptions } from "../options/allocate-options.ts";
import type {
  BroadcastOptions,
  InvokeOptions,
  SubmitManyOptions,
  SubmitOptions,
} from "../options/call-options.ts";
import type { LeaseUsage } from "./lease-usage.ts";
import type { RemoteRegion } from "./remote-region.ts";

/** Any name when the module's type is not given, else the names of its raw functions. */
export type NameOf<Module> = unknown extends Module ? string : FunctionNames<Module>;

/** How long the setup of a part of a lease took, in nanoseconds, as its node measured it. */
export interface LeasePhases {
  /** From the request until a host process was ready for it. */
  spawnNs: number;
  /** Loading the module in every worker. */
  loadNs: number;
  /** From the request to the grant, with all of the above. */
  grantNs: number;
  /** Whether a waiting host took it. */
  prewarmed: boolean;
  /** Whether a host took it that had loaded the module for a former lease (`keepWarmMs`). */
  kept: boolean;
}

/** What a lease has on one node. */
export interface LeasePart {
  /** The node's name in its cluster; its address where it has no other. */
  readonly node: string;
  /** A socket path or `HOST:PORT`; `"private"` for a node of the program's own. */
  readonly address: string;
  /** The number of its first worker; those of the others follow. Losing other parts does not change them. */
  readonly firstWorker: number;
  /** How many workers it has. */
  readonly workers: number;
  /** `"revoking"`: the node has said when it takes the part back. */
  readonly state: "up" | "revoking" | "lost" | "released";
  /** When it ends if it is neither renewed nor used before, or is revoked. */
  readonly expiresAt: Date;
  /** What moves the bytes of calls. */
  readonly fabric: FabricName;
  /** Whether what travels over the network is encrypted. False over shared memory, where nothing travels. */
  readonly encrypted: boolean;
  /** The CPUs of its workers, `coresPerWorker` for each; -1 for a core that is not tied to a CPU. */
  readonly cpus: readonly number[];
  readonly phases: LeasePhases;
  /** The process that runs its workers. */
  readonly hostPid: number;
}

/**
 * Workers for one module, on one node or on several, until released.
 *
 * A lease has a part on each of its nodes ({@link parts}), with memory of its own. Workers are numbered over all parts. A buffer
 * lies with one part, so calls that use it go to workers of that part; calls on values, {@link map} and {@link broadcast} copy, and
 * go to all. A part that is lost ends the calls that are in flight there; the others go on, and the lease is lost with the last.
 *
 * @example
 * ```ts
 * await using lease = await rf.allocate("./blackscholes.ts", { workers: 2, memory: "512MiB", polling: "hot" });
 * const input = lease.input(Float32Array, 6 * n);
 * const output = lease.output(Float32Array, n);
 * const bytes = await lease.submit("price", input, output);
 * ```
 */
export interface Lease<Module = unknown> extends AsyncDisposable {
  /** Where the workers are, in the order of their numbers. A part that is lost stays in the list. */
  readonly parts: readonly LeasePart[];
  readonly polling: Polling;
  /** What moves the bytes of calls of the first part. */
  readonly fabric: FabricName;
  /** Whether what the calls of the first part send over a network is encrypted. False over shared memory, where nothing travels. */
  readonly encrypted: boolean;
  /** The CPUs of the workers, `coresPerWorker` for each, one worker after another; -1 for a core that is not tied to a CPU. */
  readonly cpus: readonly number[];
  /** How many cores each worker has. */
  readonly coresPerWorker: number;
  /** The times that the first part took to set up. */
  readonly phases: LeasePhases;
  /** How long the request waited for room before it was granted, in milliseconds; 0 where there was room at once. */
  readonly waited: number;
  /** The process that runs the workers of the first part. */
  readonly hostPid: number;
  /** The functions that can be called. */
  readonly functions: readonly string[];
  /** How many workers the lease has, those of lost parts among them. */
  readonly workers: number;
  /** Bytes of registered memory that are not allocated, of all parts together. */
  readonly freeBytes: number;
  /**
   * When the first of its parts ends if it is neither renewed nor used before, or is revoked. It is renewed in the background.
   */
  readonly expiresAt: Date;

  /**
   * Calls `name` once per input, spread over the workers, and yields the results as they come. An input is a pair of buffers of the
   * lease, or any typed array, which is copied into memory of the lease and its result out of it. Inputs are taken as there is room:
   * at most four times `concurrency` ahead of their results. Several results may be asked for at once.
   *
   * The first failure is thrown, with the `index` of its input, unless the results are `settled`. However the iteration ends, it
   * ends when no call of it is in flight any more; only `signal` ends it at once, and then functions may still be writing.
   *
   * Calls that were in flight on a part that is lost go on elsewhere as far as `retries` allows; those after them go to the other
   * parts anyway. A pair of buffers can only be called where it lies.
   *
   * @example
   * ```ts
   * for await (const { index, output } of lease.map("price", inputs(), { ordered: false })) save(index, output);
   * const all = await Array.fromAsync(lease.map("price", pairs));
   * ```
   * @throws {WorkerLost} a worker died, and its call may not be repeated; or all have
   * @throws {OutOfLeaseMemory} no part has room for the buffers of a call
   * @throws {FunctionError} what the function threw
   */
  readonly map: MapMethod<NameOf<Module>, MapInput>;

  /**
   * Renews the lease now, by as much as it was taken for or by `ttlMs`. Resolves when the nodes of all parts have agreed.
   *
   * @throws {LeaseLost} the lease is over; the message says why
   * @throws {UsageError} `ttlMs` is out of range
   */
  renew(options?: RenewOptions): Promise<void>;

  /**
   * What the lease has cost so far, as the nodes count it: the sum over its parts, in nanoseconds, calls and bytes. Of a lease that is
   * lost, the last sums: `state` is `"final"` where the node has said them, and `"last-known"` where it is lost, too: what it said last, which
   * is nothing used where that was with its grant.
   *
   *     const { calls, executionNs, state } = await lease.usage();
   *
   * @throws {LeaseLost} the lease was released
   */
  usage(options?: WaitOptions): Promise<LeaseUsage>;

  /**
   * Calls `listener` when it happens: `"renewed"`, `"revoking"` (with the deadline), `"worker-lost"`, `"part-lost"`, `"log"`,
   * `"lost"`, `"released"`. All but the last say of which `part`. Returns a function that ends it.
   *
   * @example
   * ```ts
   * lease.on("revoking", ({ part, deadline }) => checkpoint(part, deadline));
   * ```
   */
  on<Type extends LeaseEvent["type"]>(
    type: Type,
    listener: (event: LeaseEventOf<Type>) => void,
  ): () => void;

  /** All events from now on, until the lease has ended. What is not read waits: of more than 1000, lines of the log go first. */
  events(): AsyncGenerator<LeaseEvent, void>;

  /**
   * Registered memory for arguments: a typed array of `length` elements that workers read in place. It lies with the part of
   * `worker` (default 0), and calls that use it go to workers of that part. Starts at a multiple of 64 bytes; its contents are what
   * was there before. On one machine it gets its pages here, up to 256 MiB at once (about 0.5 ms a MiB), so that no first pass over
   * it takes page faults, in this process or in a worker's.
   *
   * @example
   * ```ts
   * const input = lease.input(Float32Array, 1024, { worker: 3 });
   * ```
   * @throws {OutOfLeaseMemory}
   * @throws {UsageError} there is no such worker, or the class is no typed array's
   */
  input<View extends TypedArray>(
    type: TypedArrayClass<View>,
    length: number,
    options?: MemoryOptions,
  ): View;

  /** Registered memory for results; the same as {@link input}, named for its use. */
  output<View extends TypedArray>(
    type: TypedArrayClass<View>,
    length: number,
    options?: MemoryOptions,
  ): View;

  /**
   * Memory on the node of `worker` (default 0), zeroed, for one-sided operations: reading, writing, atomic changes. Taken from the
   * part's memory until the lease ends.
   *
   * @throws {OutOfLeaseMemory}
   */
  remote(bytes: number, options?: MemoryOptions): RemoteRegion;

  /**
   * Lets calls use memory of the program's own as they use the lease's, on every part, or with `worker` on that worker's alone. It
   * takes as much of the memory of each, until the registration is disposed of and no call uses it any more. Registering the same
   * bytes again costs nothing.
   *
   * An `ArrayBuffer` is copied, an input when its call is submitted and a result when its call ends: it may be transferred or
   * resized at any time (as that of a WebAssembly memory is, when that grows), and a call whose output is gone then rejects with
   * {@link UsageError}. All calls of a part that use it share its place in the part's memory: what is written to an input before its
   * calls have ended may reach any of them. A `SharedArrayBuffer` stays where it is, so over RDMA the network
   * card, and over TCP the kernel, reads and writes it without a copy.
   *
   * @example
   * ```ts
   * const samples = new Float64Array(new SharedArrayBuffer(8_000_000));
   * using _ = lease.register(samples);
   * lease.invoke("sum", samples, output);
   * ```
   * @throws {UsageError} nothing to register, or too many pieces
   * @throws {OutOfLeaseMemory}
   * @throws {EnvironmentError} the limit on locked memory is too low
   */
  register(view: LeaseBuffer, options?: MemoryOptions): Registration;

  /**
   * Gives a buffer back to the lease's memory, and makes it empty. Calls in flight may still use it: others get the memory when
   * they have ended. Of a lease that was released, which has given back all, it does nothing.
   *
   * @throws {UsageError} it is not what {@link input} or {@link output} returned, or was freed before
   */
  free(buffer: LeaseBuffer): void;

  /** How a function is called: with buffers (`invoke`, `submit`), or by a handle from {@link function}. */
  kindOf(name: string): "raw" | FunctionKindName;

  /**
   * What the node says of a function on values or structs: its kind, and what its input and output are, as data.
   *
   * @throws {NoSuchFunction}
   * @throws {UsageError} the function works on buffers
   */
  describe(name: string): FunctionDescription;

  /**
   * A handle to call a function that was defined with `defineFunction`: on values, or for structs in place. Its values are checked
   * before they are sent. Its buffers are taken from the lease's memory, used again, and freed when it is disposed of.
   *
   * Calls go to the part that has the fewest for each of its workers. The views of a struct lie with the first part, those of its
   * `slot()`s with one part after another.
   *
   * TypeBox schemas come with the grant. A Standard Schema cannot, so it is checked in the worker, and here as well when the
   * definition is given.
   *
   * @example
   * ```ts
   * const price = lease.function<typeof import("./blackscholes.ts")>("price");
   * const { value } = await price({ spot: 42, strike: 40, rate: 0.1, volatility: 0.2, years: 0.5 });
   * ```
   * @throws {NoSuchFunction}
   * @throws {UsageError} the function works on buffers, or is not the one that is defined
   */
  function<Definition extends AnyDefinition>(
    name: string,
    options: { definition: Definition },
  ): CallableOf<Definition>;
  function<M = Module, Name extends TypedNameOf<M> = TypedNameOf<M>>(
    name: Name,
  ): FunctionOf<NoInfer<M>, Name>;

  /**
   * Calls `name` and waits on the spot. Returns the bytes that the function wrote. The hot path: nothing is allocated.
   *
   * @throws {FunctionError} what the function threw
   * @throws {WorkerLost} the worker died
   * @throws {DeadlineExceeded} with `deadlineMs`
   * @throws {UsageError} the buffers lie with different parts, or not with that of `worker`
   */
  invoke(
    name: NameOf<Module>,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options?: InvokeOptions,
  ): number;

  /**
   * Starts a call and returns at once. When the worker's ring is full the call waits in the client and is posted when a slot
   * comes free, in order.
   *
   * @throws {QueueFull} when too many calls wait already
   * @throws {UsageError} the buffers lie with different parts, or not with that of `worker`
   */
  submit(
    name: NameOf<Module>,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options?: SubmitOptions,
  ): PublicCall;

  /** As {@link submit}, but null when the worker has no free slot. */
  trySubmit(
    name: NameOf<Module>,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options?: SubmitOptions,
  ): PublicCall | null;

  /**
   * Starts a call for each input, with the output of the same place, and returns at once: calls of the same few microseconds as one
   * batch take a third of what as many {@link submit}s take, and allocate nothing. Calls are spread over the workers of the part where
   * their buffers lie, or go to `worker`; those that find no slot wait in the client, however many they are, and are posted in order.
   * Calls that are submitted meanwhile do not wait for them.
   *
   * `deadlineMs` is that of the whole batch: calls that have not ended by then fail with it. `signal` ends all that have not ended.
   * Calls that wait when a worker is lost go to the others; those in flight there as far as `retries` allows, or `idempotent`.
   *
   * Calls whose buffers are the same as those of the batch before need not be asked where they lie: use buffers again.
   *
   * @example
   * ```ts
   * const inputs = Array.from({ length: 1000 }, () => lease.input(Float32Array, 6));
   * const outputs = Array.from({ length: 1000 }, () => lease.output(Float32Array, 1));
   * const bytes = await lease.submitMany("price", inputs, outputs);
   * ```
   * @throws {UsageError} not as many outputs as inputs, or one that is no buffer of the lease
   * @throws {NoSuchFunction}
   */
  submitMany(
    name: NameOf<Module>,
    inputs: readonly LeaseBuffer[],
    outputs: readonly LeaseBuffer[],
    options?: SubmitManyOptions,
  ): CallBatch;

  /**
   * Calls `name` once on every worker, with the same input, and resolves to what each came to, by worker: a worker that is lost is
   * there as `rejected`. Never rejects for a worker's sake.
   *
   * @throws {OutOfLeaseMemory}
   */
  broadcast(
    name: NameOf<Module>,
    input: TypedArray,
    options?: BroadcastOptions,
  ): Promise<BroadcastResult[]>;

  /** Gives the workers and the memory back. Buffers of the lease become empty, calls in flight end with {@link LeaseLost}. */
  release(): Promise<void>;
}
