/** A lease as its holder sees it: registered memory, and functions to call on leased workers. */
import { type Polling, STATUS } from "../../ffi/layout.ts";
import { DeadlineExceeded, LeaseLost, NoSuchFunction, UsageError, WorkerLost } from "../errors.ts";
import type { Attachment } from "../fabric/attachment.ts";
import type { FunctionNames } from "../function/index.ts";
import { Call } from "./call.ts";
import {
  type InvokeOptions,
  NO_OPTIONS,
  type SubmitOptions,
  wholeDeadline,
} from "./call-options.ts";
import {
  type LeaseBuffer,
  LeaseMemory,
  type TypedArray,
  type TypedArrayClass,
} from "./lease-memory.ts";
import type { FabricName, Granted } from "../protocol/messages.ts";
import { nearNames } from "./near-names.ts";
import type { NodeConnection } from "./node-connection.ts";
import type { Usage } from "../protocol/usage.ts";
import { type LeaseEvent, type LeaseEventOf, LeaseTerm } from "./lease-term.ts";
import { RemoteRegion } from "./remote-region.ts";
import type { Registration } from "./registrations.ts";
import { Reactor } from "./reactor.ts";
import { WorkerLane } from "./worker-lane.ts";

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
  /** The functions that can be called. */
  readonly functions: readonly string[];
  readonly polling: Polling;
  /** What moves the bytes of calls: `"shm"` on one machine, else `"verbs"`. */
  readonly fabric: FabricName;
  /** The CPU of each worker; -1 where it is not pinned. */
  readonly cpus: readonly number[];
  readonly phases: LeasePhases;
  /** The process that runs the workers. */
  readonly hostPid: number;

  readonly #node: NodeConnection;
  readonly #id: number;
  readonly #module: string;
  readonly #others: Record<string, string>;
  readonly #attachment: Attachment;
  readonly #memory: LeaseMemory;
  readonly #lanes: readonly WorkerLane[];
  readonly #reactor: Reactor;
  readonly #indexes: Map<string, number>;
  /** @internal */
  readonly term: LeaseTerm;
  #lastName: string | undefined;
  #lastIndex = -1;
  #lastInput: LeaseBuffer | undefined;
  #inputOffset = 0;
  #inputLength = 0;
  #flags = 0;
  #lastOutput: LeaseBuffer | undefined;
  #outputOffset = 0;
  #outputCapacity = 0;
  #turn = 0;
  #onReleased: (lease: AsyncDisposable) => void = () => {};
  #closed: Promise<void> | undefined;

  private constructor(
    node: NodeConnection,
    module: string,
    granted: Granted,
    ttlMs: number,
    fabric: FabricName,
    attachment: Attachment,
  ) {
    this.#node = node;
    this.term = new LeaseTerm(node, granted.lease, ttlMs, granted.expiresInMs);
    this.fabric = fabric;
    this.#module = module;
    this.#id = granted.lease;
    this.functions = Object.freeze(granted.exports.functions);
    this.#others = granted.exports.others;
    this.polling = granted.polling;
    this.cpus = Object.freeze(granted.cpus);
    this.phases = {
      spawnNs: granted.spawnNs,
      loadNs: granted.loadNs,
      grantNs: granted.grantNs,
      prewarmed: granted.prewarmed,
    };
    this.hostPid = granted.hostPid;
    this.#indexes = new Map(this.functions.map((name, index) => [name, index]));
    this.#attachment = attachment;
    this.#memory = new LeaseMemory(attachment.region.arena, attachment);
    this.#reactor = new Reactor({
      harvest: () => this.#lanes.reduce((ended, lane) => ended + lane.harvest(), 0),
      park: () => this.#lanes.forEach((lane) => lane.endpoint.park()),
      unpark: () => this.#lanes.forEach((lane) => lane.endpoint.unpark()),
      endStranded: () => this.#lanes.filter((lane) => lane.endStranded()).length > 0,
    });
    const owner = {
      reactor: this.#reactor,
      cancel: (worker: number, slot: number, sequence: number) =>
        node.cancel(this.#id, worker, slot, sequence),
      ended: () => attachment.region.ended(),
      disconnected: (worker: number) => attachment.lost(worker),
    };
    this.#lanes = attachment.endpoints.map(
      (endpoint, worker) => new WorkerLane(worker, endpoint, granted.slots, owner),
    );
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
    await attachment.watch(() => lease.#reactor.rouse());
    node.redeem(granted.lease);
    return lease;
  }

  /** When the lease ends if it is neither renewed nor used before, or is revoked. It is renewed in the background. */
  get expiresAt(): Date {
    return this.term.expiresAt;
  }

  /**
   * Renews the lease now, by as much as it was taken for or by `ttlMs`. Resolves when the node has agreed.
   *
   * @throws {LeaseLost} the lease is over
   */
  renew(options: { ttlMs?: number } = {}): Promise<void> {
    return this.term.renew(options.ttlMs ?? null);
  }

  /**
   * What the lease has cost so far, as the node counts it.
   *
   * @throws {LeaseLost} the lease is over
   */
  usage(): Promise<Usage> {
    return this.term.usage();
  }

  /**
   * Calls `listener` when it happens: `"renewed"`, `"revoking"` (with the deadline), `"worker-lost"`, `"lost"`, `"released"`.
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

  /** All events from now on, until the lease has ended. */
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
    // Over shared memory this is the memory itself; over verbs the node has a copy of its own.
    if (this.fabric !== "shm" && bytes > 0) region.write(0, place);
    return region;
  }

  /**
   * Lets calls use memory of the program's own, without copying it over RDMA (over shared memory it is copied, once each way). It
   * takes as much of the lease's memory, until the registration is disposed of. The memory must not be resized, transferred or
   * detached meanwhile. Registering the same bytes again costs nothing.
   *
   * @example
   * ```ts
   * const samples = new Float64Array(1_000_000);
   * using _ = lease.register(samples);
   * lease.invoke("sum", samples, output);
   * ```
   * @throws {UsageError} nothing to register, or too many pieces
   * @throws {OutOfLeaseMemory}
   * @throws {EnvironmentError} the limit on locked memory is too low
   */
  register(view: LeaseBuffer): Registration {
    const registration = this.#memory.register(view);
    return {
      byteLength: registration.byteLength,
      [Symbol.dispose]: () => {
        // The hot path remembers where a buffer lies.
        this.#lastInput = undefined;
        this.#lastOutput = undefined;
        registration[Symbol.dispose]();
      },
    };
  }

  /** Gives a buffer back to the lease's memory. No call may use it any more. */
  free(buffer: LeaseBuffer): void {
    this.#memory.free(buffer);
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
    const fn = name === this.#lastName ? this.#lastIndex : this.#indexOf(name);
    // Most calls use the buffers of the call before; asking a view where it lies costs as much as all the rest here.
    if (input !== this.#lastInput || output !== this.#lastOutput) this.#enter(input, output);
    const deadlineMs = options === undefined ? 0 : wholeDeadline(options.deadlineMs);
    const lane = this.#pick(options?.worker);
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
    const lane = this.#pick(options.worker);
    const call = this.#newCall(lane, name, input, output, options);
    if (call.done) return call;
    lane.submit(call);
    if (options !== NO_OPTIONS) this.#bindEnd(lane, call, options);
    return call;
  }

  /** As {@link submit}, but null when the worker has no free slot. */
  trySubmit(
    name: NameOf<Module>,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options: SubmitOptions = NO_OPTIONS,
  ): Call | null {
    const lane = this.#pick(options.worker);
    const call = this.#newCall(lane, name, input, output, options);
    if (call.done) return call;
    if (!lane.trySubmit(call)) return null;
    if (options !== NO_OPTIONS) this.#bindEnd(lane, call, options);
    return call;
  }

  /**
   * Calls `name` once per pair of buffers, spread over the workers, and resolves to the bytes written by each, in order. The
   * first failure rejects; calls already submitted run on.
   */
  async map(
    name: NameOf<Module>,
    chunks: Iterable<readonly [input: LeaseBuffer, output: LeaseBuffer]>,
    options: Omit<SubmitOptions, "worker"> = NO_OPTIONS,
  ): Promise<number[]> {
    const calls: Call[] = [];
    const window = this.#lanes.length * MAP_CALLS_AHEAD;
    for (const [input, output] of chunks) {
      if (calls.length >= window) await calls[calls.length - window];
      calls.push(this.submit(name, input, output, options));
    }
    return await Promise.all(calls);
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
    this.#lastInput = undefined;
    this.#lastOutput = undefined;
    this.#indexes.clear();
    const released = new LeaseLost(
      "the lease was released while the call was in flight; await calls before releasing",
    );
    const unreachable = this.#lanes.every((lane) => lane.lost !== undefined);
    for (const lane of this.#lanes) lane.lose(released);
    // A node whose machine died never says so.
    await this.#node.release(this.#id, unreachable ? UNREACHABLE_RELEASE_MS : undefined);
    this.#reactor.close();
    this.#attachment.close();
    this.#onReleased(this);
  }

  /** The least loaded worker, in turn among equals. */
  #pick(worker: number | undefined): WorkerLane {
    const lanes = this.#lanes;
    if (worker !== undefined) {
      const lane = lanes[worker];
      if (!lane)
        throw new UsageError(
          `the lease has workers 0 to ${lanes.length - 1}; there is no worker ${worker}`,
        );
      return lane;
    }
    if (lanes.length === 1) return lanes[0]!;
    let best: WorkerLane | undefined;
    for (let i = 0; i < lanes.length; i++) {
      const lane = lanes[(this.#turn + i) % lanes.length]!;
      if (lane.lost !== undefined) continue;
      if (best === undefined || lane.load < best.load) best = lane;
    }
    if (best === undefined) return lanes[0]!;
    this.#turn = best.index + 1;
    return best;
  }

  #enter(input: LeaseBuffer, output: LeaseBuffer): void {
    this.#inputOffset = this.#memory.offsetOf(input, "the input");
    this.#inputLength = input.byteLength;
    this.#outputOffset = this.#memory.outputOffsetOf(output);
    this.#outputCapacity = output.byteLength;
    this.#flags = this.#memory.flagsOf(input, this.#inputOffset, output);
    this.#lastInput = input;
    this.#lastOutput = output;
  }

  #indexOf(name: string): number {
    if (this.#closed) throw new LeaseLost("the lease was released; take a new one");
    const index = this.#indexes.get(name);
    if (index === undefined) throw this.#noSuchFunction(name);
    this.#lastName = name;
    this.#lastIndex = index;
    return index;
  }

  #noSuchFunction(name: string): NoSuchFunction {
    const kind = Object.hasOwn(this.#others, name) ? this.#others[name] : undefined;
    const problem = kind
      ? `exports "${name}", but it is a ${kind}, which cannot be called`
      : `exports no function "${name}"`;
    return new NoSuchFunction(
      name,
      `${this.#module} ${problem}; it has: ${nearNames(name, this.functions)}`,
    );
  }

  #newCall(
    lane: WorkerLane,
    name: string,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options: SubmitOptions,
  ): Call {
    const from = { offset: this.#memory.offsetOf(input, "the input"), bytes: input.byteLength };
    const to = { offset: this.#memory.outputOffsetOf(output), bytes: output.byteLength };
    const index = name === this.#lastName ? this.#lastIndex : this.#indexOf(name);
    const fn = index | this.#memory.flagsOf(input, from.offset, output);
    if (options === NO_OPTIONS) return new Call(lane, lane.index, fn, from, to, 0);
    const call = new Call(lane, lane.index, fn, from, to, wholeDeadline(options.deadlineMs));
    call.submittedNs = Bun.nanoseconds();
    if (options.timings)
      call.timings = { queuedNs: 0, movedNs: 0, foundNs: 0, ranNs: 0, returnedNs: 0 };
    if (options.signal?.aborted) call.end(0, options.signal.reason);
    return call;
  }

  /** What ends a call from this side. */
  #bindEnd(lane: WorkerLane, call: Call, { signal }: SubmitOptions): void {
    const { deadlineMs } = call;
    if (call.done || (deadlineMs === 0 && !signal)) return;
    const timer =
      deadlineMs === 0
        ? undefined
        : setTimeout(() => {
            lane.harvest();
            lane.giveUp(call, new DeadlineExceeded(deadlineMs));
          }, deadlineMs);
    const abort = () => lane.giveUp(call, signal!.reason);
    signal?.addEventListener("abort", abort, { once: true });
    const { cleanUp } = call;
    call.cleanUp = () => {
      cleanUp?.();
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    };
  }

  #failed(lane: WorkerLane, result: number, deadlineMs: number, retry: () => Call): number {
    // Slots still held by calls that were given up: wait for one as any other call does.
    if (result === STATUS.ringFull) return retry().get();
    const slot = lane.endpoint.lastSlot();
    if (result === STATUS.deadline) lane.cancelSlot(slot);
    throw lane.errorFor(result, slot, deadlineMs);
  }
}

/** A node to which every way is lost has this long to acknowledge a release. */
const UNREACHABLE_RELEASE_MS = 1000;

/** `map` keeps this many calls per worker submitted: enough to hide a turn of the event loop. */
const MAP_CALLS_AHEAD = 64;
