/** Workers of one node, and the memory that calls on them use: a lease, or a part of one that has several. */
import { END, type Polling } from "../../../ffi/layout.ts";
import { LeaseLost, WorkerLost } from "../../base/errors.ts";
import { throwIfAborted, untilAborted } from "../../base/waiting.ts";
import type { Attachment } from "../../fabric/attachment.ts";
import type { AnyDefinition, FunctionKindName } from "../../function/define-function.ts";
import type { FabricName } from "../../fabric/registry.ts";
import type { FunctionDescription, LogLine, ProgressReport } from "../../protocol/module-report.ts";
import { NO_OPTIONS } from "../calls/deadline.ts";
import { Batches } from "../batches/batches.ts";
import type { Batch } from "../batches/batch.ts";
import { DirectCalls } from "../calls/direct-calls.ts";
import { FETCH, hiddenName } from "../calls/function-table.ts";
import type { Reactor } from "../calls/reactor.ts";
import type { WorkerLane } from "../calls/worker-lane.ts";
import type { LeaseEvent, LeaseEventOf } from "../events/lease-event.ts";
import { describeEnd } from "../failures/remote-error.ts";
import { type LossCause, lossFor } from "../failures/worker-loss.ts";
import {
  type CallableOf,
  type FunctionOf,
  type TypedNameOf,
  openFunction,
} from "../functions/typed-function.ts";
import { type BroadcastResult, broadcast } from "../map/broadcast.ts";
import { type MapMethod, mapMethod } from "../map/map.ts";
import type { MapInput } from "../map/options.ts";
import type {
  LeaseBuffer,
  LeaseMemory,
  TypedArray,
  TypedArrayClass,
} from "../memory/lease-memory.ts";
import type { Registration } from "../memory/registrations.ts";
import type { NodeConnection } from "../node/connection.ts";
import { MemoryOptions, RenewOptions, WaitOptions } from "../options/allocate-options.ts";
import {
  type BroadcastOptions,
  FunctionOptions,
  type SubmitManyOptions,
} from "../options/call-options.ts";
import { readOptions } from "../../options/read.ts";
import { type Grant, coreOf } from "./core.ts";
import type { Lease, LeasePart, LeasePhases, NameOf } from "./lease.ts";
import type { LeaseUsage } from "./lease-usage.ts";
import { type PartPlace, viewOf } from "./part-view.ts";
import { MappedRegion, type RemoteRegion } from "./remote-region.ts";
import { LeaseTerm } from "./term.ts";

/** {@link Lease} documents the methods; what it says of several parts does not apply to a single one. */
export class PartLease<Module = unknown> extends DirectCalls implements Lease<Module> {
  readonly polling: Polling;
  readonly fabric: FabricName;
  readonly encrypted: boolean;
  readonly cpus: readonly number[];
  readonly coresPerWorker: number;
  readonly phases: LeasePhases;
  readonly hostPid: number;
  /** Set again by who has waited for it elsewhere, too. */
  waited: number;
  readonly map: MapMethod<NameOf<Module>, MapInput>;
  readonly term: LeaseTerm;
  readonly #node: NodeConnection;
  readonly #id: number;
  readonly #attachment: Attachment;
  readonly #memory: LeaseMemory;
  readonly #lanes: readonly WorkerLane[];
  readonly #reactor: Reactor;
  readonly #numbering: { firstWorker: number };
  readonly #batches: Batches;
  #parts: readonly LeasePart[] = [];
  /** Log lines of functions from before the part had its number. */
  #early: LogLine[] | undefined = [];
  #end: "lost" | "released" | undefined;
  readonly #afterRelease: (() => unknown)[] = [];
  #closed: Promise<void> | undefined;

  private constructor(grant: Grant, fabric: FabricName) {
    const numbering = { firstWorker: 0 };
    const core = coreOf(grant, numbering);
    super(core);
    this.#numbering = numbering;
    const { node, granted, attachment } = grant;
    this.#node = node;
    this.fabric = fabric;
    this.encrypted = granted.encrypted ?? false;
    this.#id = granted.lease;
    this.polling = granted.polling;
    this.cpus = Object.freeze(granted.cpus);
    this.coresPerWorker = granted.cpus.length / attachment.endpoints.length;
    const { spawnNs, loadNs, grantNs, prewarmed, kept = false, waitedMs = 0 } = granted;
    this.phases = Object.freeze({ spawnNs, loadNs, grantNs, prewarmed, kept });
    this.hostPid = granted.hostPid;
    this.waited = waitedMs;
    this.#attachment = attachment;
    this.term = core.term;
    this.#memory = core.memory;
    this.#reactor = core.reactor;
    this.#lanes = core.lanes;
    this.map = mapMethod([core]);
    this.#batches = new Batches(core);
    this.term.on("revoking", () => this.forgetName());
  }

  /** Opens a granted lease; takes over the attachment. */
  static async open<Module>(grant: Grant, fabric: FabricName): Promise<PartLease<Module>> {
    const lease = new PartLease<Module>(grant, fabric);
    try {
      await grant.attachment.watch(() => lease.#reactor.rouse());
    } catch (error) {
      lease.term.end({ type: "released" });
      lease.#close();
      throw error;
    }
    // After the first call of a program that makes it at once: the message is in no hurry, and a call or a release says as much.
    setImmediate(() => {
      if (lease.#closed === undefined) grant.node.redeem(grant.granted.lease);
    });
    return lease;
  }

  /** Gives the part its place in the lease. Until then the part holds its functions' log lines back. */
  join(place: PartPlace): void {
    this.#numbering.firstWorker = place.firstWorker;
    this.term.part = place.part;
    this.#parts = Object.freeze([viewOf(this, place)]);
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const line of early) this.logged(line);
  }

  /** Others have its place: says which of them gets a call that a handle of its own still makes. */
  successor: ((input: LeaseBuffer, output: LeaseBuffer) => PartLease<Module>) | undefined;
  /** What has ended it would end others in its place. */
  endsForGood = false;

  /** Gives the workers back, and keeps the memory for the program's buffers until the release. */
  forgo(): void {
    void this.#node.release(this.#id, UNREACHABLE_RELEASE_MS).catch(() => {});
  }

  /** Registers `then`, which the part calls and awaits once the node has the workers and the memory back. */
  afterRelease(then: () => unknown): void {
    this.#afterRelease.push(then);
  }

  get parts(): readonly LeasePart[] {
    return this.#parts;
  }

  /** The number of its first worker. */
  get firstWorker(): number {
    return this.#numbering.firstWorker;
  }

  get state(): LeasePart["state"] {
    return this.#end ?? (this.term.endsSoon ? "revoking" : "up");
  }

  /** Whether all of its workers are lost, even if the node has not said so yet. */
  isOver(): boolean {
    return this.#lanes.every(({ lost, endpoint }) => lost !== undefined || endpoint.lost());
  }

  get functions(): readonly string[] {
    return this.core.functions.names;
  }

  get expiresAt(): Date {
    return this.term.expiresAt;
  }

  async renew(options?: RenewOptions): Promise<void> {
    const { ttlMs, signal } = readOptions("renew", RenewOptions, options);
    throwIfAborted(signal);
    await untilAborted(this.term.renew(ttlMs ?? null), signal);
  }

  async usage(options?: WaitOptions): Promise<LeaseUsage> {
    const { signal } = readOptions("usage", WaitOptions, options);
    return await this.term.usage(signal);
  }

  on<Type extends LeaseEvent["type"]>(
    type: Type,
    listener: (event: LeaseEventOf<Type>) => void,
  ): () => void {
    return this.term.on(type, listener);
  }

  events(): AsyncGenerator<LeaseEvent, void> {
    return this.term.events();
  }

  get workers(): number {
    return this.#lanes.length;
  }

  get freeBytes(): number {
    return this.#memory.freeBytes;
  }

  input<View extends TypedArray>(
    type: TypedArrayClass<View>,
    length: number,
    options?: MemoryOptions,
  ): View {
    this.#laneOf("input", options);
    return this.#memory.allocate(type, length);
  }

  output<View extends TypedArray>(
    type: TypedArrayClass<View>,
    length: number,
    options?: MemoryOptions,
  ): View {
    this.#laneOf("output", options);
    return this.#memory.allocate(type, length);
  }

  remote(bytes: number, options?: MemoryOptions): RemoteRegion {
    const lane = this.#laneOf("remote", options);
    const place = this.#memory.allocate(Uint8Array, bytes).fill(0);
    const region = new MappedRegion(lane, this.#memory, place);
    // Without shared memory the node has a copy of its own, which must be zeroed as well.
    if (!this.#attachment.sharesMemory && bytes > 0) region.write(0, place);
    return region;
  }

  register(view: LeaseBuffer, options?: MemoryOptions): Registration {
    this.#laneOf("register", options);
    const registration = this.#memory.register(view);
    const { byteLength, copied } = registration;
    return {
      byteLength,
      copied,
      [Symbol.dispose]: () => {
        this.forgetPlaces();
        registration[Symbol.dispose]();
      },
    };
  }

  free(buffer: LeaseBuffer): void {
    this.forgetPlaces();
    this.#memory.free(buffer);
  }

  kindOf(name: string): "raw" | FunctionKindName {
    return this.core.functions.kindOf(name);
  }

  describe(name: string): FunctionDescription {
    return this.core.functions.describe(name);
  }

  function<Definition extends AnyDefinition>(
    name: string,
    options: { definition: Definition },
  ): CallableOf<Definition>;
  function<M = Module, Name extends TypedNameOf<M> = TypedNameOf<M>>(
    name: Name,
  ): FunctionOf<NoInfer<M>, Name>;
  function(name: string, options?: { definition?: AnyDefinition }): unknown {
    const { definition } = readOptions("function", FunctionOptions, options);
    const description = this.core.functions.describe(name);
    const hidden = hiddenName(name) as NameOf<Module>;
    return openFunction(name, description, definition, {
      memory: this.#memory,
      workers: this.workers,
      firstWorker: this.firstWorker,
      slots: this.core.slots,
      nextWorker: () => this.submission.pick(undefined).number,
      invoke: (input, output, options) =>
        (this.successor?.(input, output) ?? this).invoke(hidden, input, output, options),
      submit: (input, output, options) =>
        (this.successor?.(input, output) ?? this).submit(hidden, input, output, options),
      fetch: (input, output, options) => this.submission.submitFirst(FETCH, input, output, options),
      onOver: (listener) => {
        const ends = [this.on("lost", listener), this.on("released", listener)];
        return () => ends.forEach((end) => end());
      },
      holds: (call) => this.submission.pick(call.worker).holds(call),
    });
  }

  submitMany(
    name: NameOf<Module>,
    inputs: readonly LeaseBuffer[],
    outputs: readonly LeaseBuffer[],
    options?: SubmitManyOptions,
  ): Batch {
    return this.prepareMany(name, inputs, outputs, options)();
  }

  /** As {@link submitMany}, up to where it begins: that is left to what is returned. `rows`: what the program calls them. */
  prepareMany(
    name: NameOf<Module>,
    inputs: readonly LeaseBuffer[],
    outputs: readonly LeaseBuffer[],
    options?: SubmitManyOptions,
    rows?: readonly number[],
  ): () => Batch {
    return this.#batches.prepare(name, inputs, outputs, options, rows);
  }

  broadcast(
    name: NameOf<Module>,
    input: TypedArray,
    options: BroadcastOptions = NO_OPTIONS,
  ): Promise<BroadcastResult[]> {
    return broadcast(this.submission, name, input, options);
  }

  release(): Promise<void> {
    return (this.#closed ??= this.#release());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  /** The node says that the lease is over. */
  lose(message: string, cause: LossCause = {}): void {
    this.#end ??= "lost";
    this.endsForGood ||= cause.final ?? false;
    this.term.end({ type: "lost", message });
    for (const lane of this.#lanes)
      lane.lose(lossFor(lane.number, `${message}; take a new lease`, cause));
  }

  /** The connection to the node has ended. The node may have written the cause into the lease's memory before. */
  disconnected(message: string): void {
    const [reason, detail] = this.#attachment.region.ended();
    this.lose(reason === END.alive ? message : `${describeEnd(reason, detail)} (${message})`);
  }

  /** A function has reported the progress of its call. */
  progressed(report: ProgressReport): void {
    this.#lanes[report.worker]?.progressed(report);
  }

  /** The node says that one worker is gone. */
  loseWorker(index: number, message: string): void {
    const worker = this.firstWorker + index;
    this.term.workerLost(worker, message);
    this.#lanes[index]?.lose(
      new WorkerLost(worker, `worker ${worker} is lost: ${message}; take a new lease`),
    );
  }

  /** A function has written a line. */
  logged(line: LogLine): void {
    if (this.#early) this.#early.push(line);
    else this.term.logged({ ...line, worker: this.firstWorker + line.worker });
  }

  protected override forgetPlaces(): void {
    super.forgetPlaces();
    this.#batches.forget();
    this.#memory.forget();
  }

  /** The lane of the worker that the options name; by default the first worker's. Throws {@link UsageError}. */
  #laneOf(what: string, options: MemoryOptions | undefined): WorkerLane {
    const { worker } = readOptions(what, MemoryOptions, options);
    return worker === undefined ? this.#lanes[0]! : this.submission.pick(worker);
  }

  async #release(): Promise<void> {
    this.#end ??= "released";
    this.term.end({ type: "released" });
    this.forgetName();
    this.forgetPlaces();
    this.core.functions.close();
    const released = new LeaseLost(
      "the lease was released while the call was in flight; await calls before releasing",
    );
    const unreachable = this.#lanes.every((lane) => lane.lost !== undefined);
    try {
      for (const lane of this.#lanes) lane.lose(released);
      // A node whose machine died never reports the loss.
      await this.#node.release(this.#id, unreachable ? UNREACHABLE_RELEASE_MS : undefined);
    } finally {
      this.#close();
      await Promise.all(this.#afterRelease.map((then) => then()));
    }
  }

  #close(): void {
    this.#reactor.close();
    this.#memory.close();
    this.#attachment.close();
  }
}

/** Timeout for a node's acknowledgement of a release when the client has lost every worker. */
const UNREACHABLE_RELEASE_MS = 1000;
