/** A lease as its holder sees it: registered memory, and functions to call on leased workers. */
import { END, type Polling, STATUS } from "../../../ffi/layout.ts";
import { LeaseLost, WorkerLost } from "../../base/errors.ts";
import type { Attachment } from "../../fabric/attachment.ts";
import type { AnyDefinition, FunctionKindName } from "../../function/define-function.ts";
import type { FunctionNames } from "../../function/names.ts";
import { type BroadcastResult, broadcast } from "../map/broadcast.ts";
import type { Call } from "../calls/call.ts";
import { NO_OPTIONS, deadlineOf } from "../calls/deadline.ts";
import { FETCH, FunctionTable, hiddenName } from "../calls/function-table.ts";
import {
  type LeaseBuffer,
  LeaseMemory,
  type MemoryUse,
  type TypedArray,
  type TypedArrayClass,
} from "../memory/lease-memory.ts";
import { type MapMethod, mapMethod } from "../map/map.ts";
import type { MapInput } from "../map/options.ts";
import { RenewOptions, WaitOptions } from "../options/allocate-options.ts";
import {
  type BroadcastOptions,
  FunctionOptions,
  type InvokeOptions,
  type SubmitOptions,
} from "../options/call-options.ts";
import { readOptions } from "../../options/read.ts";
import type { FabricName } from "../../fabric/registry.ts";
import type { Granted } from "../../protocol/lease-messages.ts";
import type { ProgressReport } from "../../protocol/module-report.ts";
import type { NodeConnection } from "../node/connection.ts";
import type { Usage } from "../../protocol/usage.ts";
import type { LeaseEvent, LeaseEventOf } from "../events/lease-event.ts";
import { LeaseTerm } from "./term.ts";
import { RemoteRegion } from "./remote-region.ts";
import type { Registration } from "../memory/registrations.ts";
import { Reactor } from "../calls/reactor.ts";
import { describeEnd } from "../failures/remote-error.ts";
import { type LeaseParts, Submission } from "../calls/submission.ts";
import {
  type CallableOf,
  type FunctionOf,
  type TypedNameOf,
  openFunction,
} from "../functions/typed-function.ts";
import { throwIfAborted, untilAborted } from "../../base/waiting.ts";
import { WorkerLane } from "../calls/worker-lane.ts";

/** Any name when the module's type is not given, else the names of its raw functions. */
export type NameOf<Module> = unknown extends Module ? string : FunctionNames<Module>;

/** How a lease came to be, in nanoseconds, as the node measured it. */
export interface LeasePhases {
  /** From the request until a host process was ready for it. */
  spawnNs: number;
  /** Loading the module in every worker. */
  loadNs: number;
  /** From the request to the grant, with all of the above. */
  grantNs: number;
  /** Whether a waiting host took it. */
  prewarmed: boolean;
}

/**
 * Workers of one node, for one module, until released.
 *
 * @example
 * ```ts
 * await using lease = await rf.allocate("./blackscholes.ts", { workers: 2, memory: "512MiB", polling: "hot" });
 * const input = lease.input(Float32Array, 6 * n);
 * const output = lease.output(Float32Array, n);
 * const bytes = await lease.submit("price", input, output);
 * ```
 */
export class Lease<Module = unknown> implements AsyncDisposable {
  readonly polling: Polling;
  /** What moves the bytes of calls. */
  readonly fabric: FabricName;
  /** The CPUs of the workers, `coresPerWorker` for each, one worker after another; -1 for a core that is not tied to a CPU. */
  readonly cpus: readonly number[];
  /** How many cores each worker has. */
  readonly coresPerWorker: number;
  readonly phases: LeasePhases;
  /** The process that runs the workers. */
  readonly hostPid: number;

  /**
   * Calls `name` once per input, spread over the workers, and yields the results as they come. An input is a pair of buffers of the
   * lease, or any typed array, which is copied into memory of the lease and its result out of it. Inputs are taken as there is room:
   * at most four times `concurrency` ahead of their results. Several results may be asked for at once.
   *
   * The first failure is thrown, with the `index` of its input, unless the results are `settled`. However the iteration ends, it
   * ends when no call of it is in flight any more; only `signal` ends it at once, and then functions may still be writing.
   *
   * @example
   * ```ts
   * for await (const { index, output } of lease.map("price", inputs(), { ordered: false })) save(index, output);
   * const all = await Array.fromAsync(lease.map("price", pairs));
   * ```
   */
  readonly map: MapMethod<NameOf<Module>, MapInput>;
  /** @internal */
  readonly parts: LeaseParts;
  readonly #node: NodeConnection;
  readonly #id: number;
  readonly #attachment: Attachment;
  readonly #memory: LeaseMemory;
  readonly #lanes: readonly WorkerLane[];
  readonly #reactor: Reactor;
  readonly #submission: Submission;
  #lastName: string | undefined;
  #lastIndex = -1;
  #lastInput = NO_BUFFER;
  #lastOutput = NO_BUFFER;
  /** Where those two lie. */
  #places: MemoryUse | undefined;
  #inputOffset = 0;
  #inputLength = 0;
  #flags = 0;
  #outputOffset = 0;
  #outputCapacity = 0;
  #onReleased: (lease: AsyncDisposable) => void = () => {};
  #closed: Promise<void> | undefined;
  /** @internal */
  readonly term: LeaseTerm;

  private constructor(
    node: NodeConnection,
    module: string,
    granted: Granted,
    ttlMs: number,
    fabric: FabricName,
    attachment: Attachment,
  ) {
    this.#node = node;
    this.fabric = fabric;
    this.#id = granted.lease;
    this.polling = granted.polling;
    this.cpus = Object.freeze(granted.cpus);
    this.coresPerWorker = granted.cpus.length / attachment.endpoints.length;
    this.phases = {
      spawnNs: granted.spawnNs,
      loadNs: granted.loadNs,
      grantNs: granted.grantNs,
      prewarmed: granted.prewarmed,
    };
    this.hostPid = granted.hostPid;
    this.#attachment = attachment;
    this.#memory = new LeaseMemory(attachment.region, attachment);
    this.#reactor = new Reactor({
      harvest: () => this.#lanes.reduce((ended, lane) => ended + lane.harvest(), 0),
      park: () => this.#lanes.forEach((lane) => lane.endpoint.park()),
      unpark: () => this.#lanes.forEach((lane) => lane.endpoint.unpark()),
      endStranded: () => this.#lanes.filter((lane) => lane.endStranded()).length > 0,
    });
    const owner = {
      reactor: this.#reactor,
      cancel: (worker: number, slot: number, sequence: number, gently: boolean) =>
        node.cancel(this.#id, worker, slot, sequence, gently),
      ended: () => attachment.region.ended(),
      disconnected: (worker: number) => attachment.lost(worker),
    };
    this.#lanes = attachment.endpoints.map(
      (endpoint, worker) => new WorkerLane(worker, endpoint, granted.slots, owner),
    );
    this.term = new LeaseTerm(node, granted.lease, ttlMs, granted.expiresInMs);
    this.parts = {
      lanes: this.#lanes,
      slots: granted.slots,
      functions: new FunctionTable(module, granted.exports),
      memory: this.#memory,
      reactor: this.#reactor,
      term: this.term,
    };
    this.map = mapMethod([this.parts]);
    this.#submission = new Submission(this.parts);
    // From then on every call is looked at, whether it can still be made.
    this.term.on("revoking", () => (this.#lastName = undefined));
  }

  /** @internal Opens a granted lease; takes over the attachment. */
  static async open<Module>(
    node: NodeConnection,
    module: string,
    granted: Granted,
    ttlMs: number,
    fabric: FabricName,
    attachment: Attachment,
    onReleased: (lease: AsyncDisposable) => void,
  ): Promise<Lease<Module>> {
    const lease = new Lease<Module>(node, module, granted, ttlMs, fabric, attachment);
    lease.#onReleased = onReleased;
    try {
      await attachment.watch(() => lease.#reactor.rouse());
    } catch (error) {
      lease.term.end({ type: "released" });
      lease.#close();
      throw error;
    }
    node.redeem(granted.lease);
    return lease;
  }

  /** The functions that can be called. */
  get functions(): readonly string[] {
    return this.parts.functions.names;
  }

  /** When the lease ends if it is neither renewed nor used before, or is revoked. It is renewed in the background. */
  get expiresAt(): Date {
    return this.term.expiresAt;
  }

  /**
   * Renews the lease now, by as much as it was taken for or by `ttlMs`. Resolves when the node has agreed.
   *
   * @throws {LeaseLost} the lease is over; the message says why
   * @throws {UsageError} `ttlMs` is out of range
   */
  async renew(options?: RenewOptions): Promise<void> {
    const { ttlMs, signal } = readOptions("renew", RenewOptions, options);
    throwIfAborted(signal);
    await untilAborted(this.term.renew(ttlMs ?? null), signal);
  }

  /**
   * What the lease has cost so far, as the node counts it.
   *
   * @throws {LeaseLost} the lease is over
   */
  async usage(options?: WaitOptions): Promise<Usage> {
    const { signal } = readOptions("usage", WaitOptions, options);
    return await this.term.usage(signal);
  }

  /**
   * Calls `listener` when it happens: `"renewed"`, `"revoking"` (with the deadline), `"worker-lost"`, `"log"`, `"lost"`, `"released"`.
   * Returns a function that ends it.
   *
   * @example
   * ```ts
   * lease.on("revoking", ({ deadline }) => checkpoint(deadline));
   * ```
   */
  on<Type extends LeaseEvent["type"]>(
    type: Type,
    listener: (event: LeaseEventOf<Type>) => void,
  ): () => void {
    return this.term.on(type, listener);
  }

  /** All events from now on, until the lease has ended. What is not read waits: of more than 1000, lines of the log go first. */
  events(): AsyncGenerator<LeaseEvent, void> {
    return this.term.events();
  }

  /** How many workers the lease has. */
  get workers(): number {
    return this.#lanes.length;
  }

  /** Bytes of registered memory that are not allocated. */
  get freeBytes(): number {
    return this.#memory.freeBytes;
  }

  /**
   * Registered memory for arguments: a typed array of `length` elements that workers read in place. Starts at a multiple of 64
   * bytes; its contents are what was there before.
   *
   * @throws {OutOfLeaseMemory}
   */
  input<View extends TypedArray>(type: TypedArrayClass<View>, length: number): View {
    return this.#memory.allocate(type, length);
  }

  /** Registered memory for results; the same as {@link input}, named for its use. */
  output<View extends TypedArray>(type: TypedArrayClass<View>, length: number): View {
    return this.#memory.allocate(type, length);
  }

  /**
   * Memory on the node, zeroed, for one-sided operations: reading, writing, atomic changes. Taken from the lease's memory until
   * the lease ends.
   *
   * @throws {OutOfLeaseMemory}
   */
  remote(bytes: number): RemoteRegion {
    const place = this.#memory.allocate(Uint8Array, bytes).fill(0);
    const region = new RemoteRegion(this.#lanes[0]!, this.#memory, place);
    // Where the node has a copy of its own.
    if (!this.#attachment.sharesMemory && bytes > 0) region.write(0, place);
    return region;
  }

  /**
   * Lets calls use memory of the program's own as they use the lease's. It takes as much of the lease's memory, until the
   * registration is disposed of and no call uses it any more. Registering the same bytes again costs nothing.
   *
   * An `ArrayBuffer` is copied, an input when its call is submitted and a result when its call ends: it may be transferred or
   * resized at any time (as that of a WebAssembly memory is, when that grows), and a call whose output is gone then rejects with
   * {@link UsageError}. All calls that use it share its place in the lease's memory: what is written to an input before its calls
   * have ended may reach any of them. A `SharedArrayBuffer` stays where it is, so over RDMA the network card reads and writes it
   * without a copy.
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
  register(view: LeaseBuffer): Registration {
    const registration = this.#memory.register(view);
    const { byteLength, copied } = registration;
    return {
      byteLength,
      copied,
      [Symbol.dispose]: () => {
        this.#forgetPlaces();
        registration[Symbol.dispose]();
      },
    };
  }

  /**
   * Gives a buffer back to the lease's memory, and makes it empty. Calls in flight may still use it: others get the memory when
   * they have ended.
   *
   * @throws {UsageError} it is not what {@link input} or {@link output} returned, or was freed before
   */
  free(buffer: LeaseBuffer): void {
    this.#forgetPlaces();
    this.#memory.free(buffer);
  }

  /** How a function is called: with buffers (`invoke`, `submit`), or by a handle from {@link function}. */
  kindOf(name: string): "raw" | FunctionKindName {
    return this.parts.functions.kindOf(name);
  }

  /**
   * A handle to call a function that was defined with `defineFunction`: on values, or for structs in place. Its values are checked
   * before they are sent. Its buffers are taken from the lease's memory, used again, and freed when it is disposed of.
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
  ): FunctionOf<M, Name>;
  function(name: string, options?: { definition?: AnyDefinition }): unknown {
    const { definition } = readOptions("function", FunctionOptions, options);
    const description = this.parts.functions.describe(name);
    const hidden = hiddenName(name) as NameOf<Module>;
    return openFunction(name, description, definition, {
      memory: this.#memory,
      workers: this.workers,
      slots: this.parts.slots,
      nextWorker: () => this.#submission.pick(undefined).index,
      invoke: (input, output, options) => this.invoke(hidden, input, output, options),
      submit: (input, output, options) => this.submit(hidden, input, output, options),
      fetch: (input, output, options) =>
        this.#submission.submitFirst(FETCH, input, output, options),
      onOver: (listener) => {
        const ends = [this.on("lost", listener), this.on("released", listener)];
        return () => ends.forEach((end) => end());
      },
      holds: (call) => this.#lanes[call.worker]!.holds(call),
    });
  }

  /**
   * Calls `name` and waits on the spot. Returns the bytes that the function wrote. The hot path: nothing is allocated.
   *
   * @throws {FunctionError} what the function threw
   * @throws {WorkerLost} the worker died
   * @throws {DeadlineExceeded} with `deadlineMs`
   */
  invoke(
    name: NameOf<Module>,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options?: InvokeOptions,
  ): number {
    const fn = name === this.#lastName ? this.#lastIndex : this.#indexOf(name, options);
    // Most calls use the buffers of the call before; asking a view where it lies costs as much as all the rest here.
    // Those that were transferred since have become empty.
    if (
      (input !== this.#lastInput ||
        output !== this.#lastOutput ||
        input.byteLength !== this.#inputLength ||
        output.byteLength !== this.#outputCapacity) &&
      !this.#enter(input, output)
    )
      return this.submit(name, input, output, options).get();
    const deadlineMs = options === undefined ? 0 : deadlineOf(options);
    const lane = this.#submission.pick(options?.worker);
    if (lane.load > 0 || lane.lost !== undefined)
      return this.submit(name, input, output, options).get();
    const result = lane.endpoint.call(
      fn | this.#flags,
      this.#inputOffset,
      this.#inputLength,
      this.#outputOffset,
      this.#outputCapacity,
      deadlineMs,
    );
    this.#reactor.rouse();
    if (result >= 0) return result;
    return this.#failed(lane, result, deadlineMs, () => this.submit(name, input, output, options));
  }

  /**
   * Starts a call and returns at once. When the worker's ring is full the call waits in the client and is posted when a slot
   * comes free, in order.
   *
   * @throws {QueueFull} when too many calls wait already
   */
  submit(
    name: NameOf<Module>,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options: SubmitOptions = NO_OPTIONS,
  ): Call {
    return this.#submission.submit(name, input, output, options);
  }

  /** As {@link submit}, but null when the worker has no free slot. */
  trySubmit(
    name: NameOf<Module>,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options: SubmitOptions = NO_OPTIONS,
  ): Call | null {
    return this.#submission.trySubmit(name, input, output, options);
  }

  /**
   * Calls `name` once on every worker, with the same input, and resolves to what each came to, by worker: a worker that is lost is
   * there as `rejected`. Never rejects for a worker's sake.
   *
   * @throws {OutOfLeaseMemory}
   */
  broadcast(
    name: NameOf<Module>,
    input: TypedArray,
    options: BroadcastOptions = NO_OPTIONS,
  ): Promise<BroadcastResult[]> {
    return broadcast(this.#submission, name, input, options);
  }

  /** Gives the workers and the memory back. Buffers of the lease become empty, calls in flight end with {@link LeaseLost}. */
  release(): Promise<void> {
    return (this.#closed ??= this.#release());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  /** @internal The node says that the lease is over. */
  lose(message: string, signal?: string): void {
    this.term.end({ type: "lost", message });
    for (const lane of this.#lanes)
      lane.lose(new WorkerLost(lane.index, `${message}; take a new lease`, { signal }));
  }

  /** @internal The connection to the node has ended. Why, the node may have written into the lease's memory before. */
  disconnected(message: string): void {
    const [reason, detail] = this.#attachment.region.ended();
    this.lose(reason === END.alive ? message : `${describeEnd(reason, detail)} (${message})`);
  }

  /** @internal A call has come so far. */
  progressed(report: ProgressReport): void {
    this.#lanes[report.worker]?.progressed(report);
  }

  /** @internal The node says that one worker is gone. */
  loseWorker(worker: number, message: string): void {
    this.term.workerLost(worker, message);
    this.#lanes[worker]?.lose(
      new WorkerLost(worker, `worker ${worker} is lost: ${message}; take a new lease`),
    );
  }

  async #release(): Promise<void> {
    this.term.end({ type: "released" });
    this.#lastName = undefined;
    this.#forgetPlaces();
    this.parts.functions.close();
    const released = new LeaseLost(
      "the lease was released while the call was in flight; await calls before releasing",
    );
    const unreachable = this.#lanes.every((lane) => lane.lost !== undefined);
    try {
      for (const lane of this.#lanes) lane.lose(released);
      // A node whose machine died never says so.
      await this.#node.release(this.#id, unreachable ? UNREACHABLE_RELEASE_MS : undefined);
    } finally {
      this.#onReleased(this);
      this.#close();
    }
  }

  #close(): void {
    this.#reactor.close();
    this.#memory.close();
    this.#attachment.close();
  }

  /** Remembers where buffers lie. Returns whether they lie in the lease's memory, where nothing need be done for a call. */
  #enter(input: LeaseBuffer, output: LeaseBuffer): boolean {
    const places = {
      input: this.#memory.placeOf(input, "the input"),
      output: this.#memory.outputPlaceOf(output),
    };
    if (!this.#memory.has(input) || !this.#memory.has(output)) return false;
    this.#inputOffset = places.input.offsetOf(input);
    this.#inputLength = input.byteLength;
    this.#outputOffset = places.output.offsetOf(output);
    this.#outputCapacity = output.byteLength;
    this.#flags = this.#memory.flagsOf(places, this.#inputOffset);
    this.#places = places;
    // A `DataView` whose memory was transferred throws when it is asked for its length: it is looked at each time.
    const lasting = !(input instanceof DataView) && !(output instanceof DataView);
    this.#lastInput = lasting ? input : NO_BUFFER;
    this.#lastOutput = lasting ? output : NO_BUFFER;
    return true;
  }

  #forgetPlaces(): void {
    this.#lastInput = this.#lastOutput = NO_BUFFER;
    this.#places = undefined;
  }

  /** Remembers a name, unless every call must be looked at. */
  #indexOf(name: string, options: InvokeOptions | undefined): number {
    const index = this.parts.functions.indexOf(name);
    const refused = this.term.refusal(options?.durationMs ?? options?.deadlineMs ?? 0);
    if (refused) throw refused;
    if (this.term.endsSoon) return index;
    this.#lastName = name;
    this.#lastIndex = index;
    return index;
  }

  #failed(lane: WorkerLane, result: number, deadlineMs: number, retry: () => Call): number {
    // Slots still held by calls that were given up: wait for one as any other call does.
    if (result === STATUS.ringFull) return retry().get();
    const slot = lane.endpoint.lastSlot();
    if (result === STATUS.deadline) this.#givenUp(lane, slot);
    throw lane.errorFor(result, slot, deadlineMs);
  }

  #givenUp(lane: WorkerLane, slot: number): void {
    lane.cancelSlot(slot, false);
    const abandoned = { slot, sequence: lane.endpoint.sequence(slot) };
    this.#memory.leave(this.#places!, () => lane.holds({ abandoned }));
  }
}

/** Nobody else has it: no call has used it. */
const NO_BUFFER: LeaseBuffer = new Uint8Array(0);

/** A node to which every way is lost has this long to acknowledge a release. */
const UNREACHABLE_RELEASE_MS = 1000;
