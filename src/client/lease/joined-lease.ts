/** Joins parts on several nodes into one lease: routes each call to a part, and reports a part's events as the lease's. */
import { LeaseLost } from "../../base/errors.ts";
import type { AnyDefinition, FunctionKindName } from "../../function/define-function.ts";
import type { FunctionDescription } from "../../protocol/module-report.ts";
import type { CallBatch } from "../batches/public-batch.ts";
import type { Call } from "../calls/call.ts";
import type { PublicCall } from "../calls/public-call.ts";
import { EventHub } from "../events/event-hub.ts";
import type { LeaseEvent, LeaseEventOf } from "../events/lease-event.ts";
import { notRun } from "../failures/fate.ts";
import { joinHandles } from "../functions/handles.ts";
import type { Lent } from "../functions/members.ts";
import type { CallableOf, FunctionOf, TypedNameOf } from "../functions/typed-function.ts";
import type { BroadcastResult } from "../map/broadcast.ts";
import { LiveCores } from "../map/live-cores.ts";
import { type MapMethod, mapMethod } from "../map/map.ts";
import type { MapInput } from "../map/options.ts";
import type { LeaseBuffer, TypedArray, TypedArrayClass } from "../memory/lease-memory.ts";
import type { Registration } from "../memory/registrations.ts";
import { MemoryOptions, type RenewOptions, type WaitOptions } from "../options/allocate-options.ts";
import {
  type BroadcastOptions,
  FunctionOptions,
  type InvokeOptions,
  type SubmitManyOptions,
  type SubmitOptions,
} from "../options/call-options.ts";
import { readOptions } from "../../options/read.ts";
import { HealedCall } from "./healed-call.ts";
import { type Found, type Healed, type Healing, isGone } from "./healing.ts";
import type { Lease, LeasePart, NameOf } from "./lease.ts";
import type { LeaseUsage } from "./lease-usage.ts";
import { beginMany } from "./many-calls.ts";
import { cpusOf } from "./part-view.ts";
import type { PartLease } from "./part.ts";
import { releaseAll } from "./release-all.ts";
import type { RemoteRegion } from "./remote-region.ts";
import { Routing } from "./routing.ts";
import { LiveHandles, Succession } from "./succession.ts";

/** Its methods are described where {@link Lease} is. */
export class JoinedLease<Module = unknown> implements Lease<Module>, Healed<Module> {
  readonly map: MapMethod<NameOf<Module>, MapInput>;
  readonly workers: number;
  /** Those that others have the places of are no more among them. */
  readonly #parts: PartLease<Module>[];
  readonly #cores: LiveCores;
  readonly #healing: Healing<Module> | undefined;
  readonly #succession: Succession<Module>;
  readonly #routing: Routing<PartLease<Module>>;
  readonly #hub = new EventHub();
  #over = false;
  readonly #afterRelease: (() => unknown)[] = [];
  #released: Promise<void> | undefined;

  /** Of parts that know their places: at least two, or one with `healing`, which replaces what is lost. */
  constructor(parts: readonly PartLease<Module>[], healing?: Healing<Module>) {
    this.#parts = [...parts];
    this.#healing = healing;
    this.workers = parts.reduce((sum, { workers }) => sum + workers, 0);
    this.#routing = new Routing(this.#parts);
    const cores = parts.map(({ core }) => core);
    this.#cores = new LiveCores(cores, healing);
    this.#succession = new Succession((...pair) => this.#routing.route(...pair, undefined));
    this.map = mapMethod(this.#cores.all, healing && this.#cores);
    for (const part of parts) this.#follow(part);
    healing?.attend(this);
    for (const part of parts) healing?.watch(part);
  }

  get #first(): PartLease<Module> {
    return this.#parts[0]!;
  }

  get parts(): readonly LeasePart[] {
    return Object.freeze(this.#parts.flatMap((part) => part.parts));
  }

  get cpus(): readonly number[] {
    return cpusOf(this.#parts, (worker) => this.holderOf(worker));
  }

  // ---- for what heals it ----

  holderOf(worker: number): PartLease<Module> {
    return this.#routing.partOf(worker);
  }

  seat(found: readonly Found<Module>[], firstWorker: number): void {
    const count = found.reduce((sum, { lease }) => sum + lease.workers, 0);
    const holders = Array.from({ length: count }, (_, i) => this.holderOf(firstWorker + i));
    // One that has other workers stays; one that has left already has no place.
    const formers = [...new Set(holders)].filter(
      (part) => (isGone(part) || part.state !== "up") && this.#parts.includes(part),
    );
    let worker = firstWorker;
    for (const { lease: part, node, address } of found) {
      const former = formers.shift();
      const place = former ? this.#parts.indexOf(former) : this.#parts.length;
      part.join({ part: place, firstWorker: worker, node, address });
      this.#parts[place] = part;
      this.#come(part, former);
      this.#hub.tell({
        ...{ type: "replaced", part: place, firstWorker: worker, workers: part.workers, node },
        cold: !part.phases.kept,
      });
      worker += part.workers;
    }
    // Fewer parts may have as many workers.
    for (const former of formers) this.#part(former);
  }

  #come(part: PartLease<Module>, former: PartLease<Module> | undefined): void {
    if (former) this.#routing.leave(former);
    this.#succession.follows(part, former, this.#parts);
    this.#follow(part);
    this.#healing!.watch(part);
    this.#cores.joined(part.core, former?.core);
  }

  #part(former: PartLease<Module>): void {
    this.#parts.splice(this.#parts.indexOf(former), 1);
    this.#routing.leave(former);
    this.#succession.follows(undefined, former, this.#parts);
    this.#cores.joined(undefined, former.core);
    for (const [part, lease] of this.#parts.entries())
      lease.join({ ...lease.parts[0]!, part, firstWorker: lease.firstWorker });
  }

  giveUp(message: string): void {
    this.#end({ type: "lost", part: 0, message });
  }

  /** Registers `then`, which the lease calls and awaits once the nodes have all parts back. */
  afterRelease(then: () => unknown): void {
    this.#afterRelease.push(then);
  }

  get polling() {
    return this.#first.polling;
  }

  get fabric() {
    return this.#first.fabric;
  }

  get encrypted() {
    return this.#first.encrypted;
  }

  get coresPerWorker() {
    return this.#first.coresPerWorker;
  }

  get phases() {
    return this.#first.phases;
  }

  get waited() {
    return this.#first.waited;
  }

  get hostPid() {
    return this.#first.hostPid;
  }

  get functions(): readonly string[] {
    return this.#first.functions;
  }

  get freeBytes(): number {
    return this.#left.reduce((sum, { freeBytes }) => sum + freeBytes, 0);
  }

  get expiresAt(): Date {
    return this.#left.map(({ expiresAt }) => expiresAt).reduce((a, b) => (b < a ? b : a));
  }

  async renew(options?: RenewOptions): Promise<void> {
    await this.#fromAll((part) => part.renew(options));
  }

  async usage(options?: WaitOptions): Promise<LeaseUsage> {
    const all = await this.#fromAll((part) => part.usage(options), this.#parts);
    // Of a lost part nothing may be known.
    return await this.#succession.withFormer(all, all.length === this.#parts.length);
  }

  on<Type extends LeaseEvent["type"]>(
    type: Type,
    listener: (event: LeaseEventOf<Type>) => void,
  ): () => void {
    return this.#hub.on(type, listener);
  }

  events(): AsyncGenerator<LeaseEvent, void> {
    return this.#hub.events();
  }

  input<View extends TypedArray>(
    type: TypedArrayClass<View>,
    length: number,
    options?: MemoryOptions,
  ): View {
    const part = this.#partFor("input", options);
    return this.#routing.settle(part.input(type, length), part);
  }

  output<View extends TypedArray>(
    type: TypedArrayClass<View>,
    length: number,
    options?: MemoryOptions,
  ): View {
    const part = this.#partFor("output", options);
    return this.#routing.settle(part.output(type, length), part);
  }

  remote(bytes: number, options?: MemoryOptions): RemoteRegion {
    return this.#partFor("remote", options).remote(bytes);
  }

  register(view: LeaseBuffer, options?: MemoryOptions): Registration {
    const { worker } = readOptions("register", MemoryOptions, options);
    const parts = worker === undefined ? this.#left : [this.#routing.partOf(worker)];
    using stack = new DisposableStack();
    const all = parts.map((part) => stack.use(part.register(view)));
    const kept = stack.move();
    const { byteLength } = all[0]!;
    const copied = all.some((registration) => registration.copied);
    return { byteLength, copied, [Symbol.dispose]: () => kept.dispose() };
  }

  free(buffer: LeaseBuffer): void {
    const home = this.#routing.homeOf(buffer) ?? this.#succession.homeOf(buffer) ?? this.#first;
    home.free(buffer);
    if (this.#healing) for (const { core } of this.#parts) core.memory.disown(buffer.buffer);
  }

  kindOf(name: string): "raw" | FunctionKindName {
    return this.#first.kindOf(name);
  }

  describe(name: string): FunctionDescription {
    return this.#first.describe(name);
  }

  function<Definition extends AnyDefinition>(
    name: string,
    options: { definition: Definition },
  ): CallableOf<Definition>;
  function<M = Module, Name extends TypedNameOf<M> = TypedNameOf<M>>(
    name: Name,
  ): FunctionOf<NoInfer<M>, Name>;
  function(name: string, options?: { definition: AnyDefinition }): unknown {
    readOptions("function", FunctionOptions, options);
    const lend = (part: PartLease<Module>): Lent => ({
      part,
      workers: part.workers,
      firstWorker: part.firstWorker,
      slots: part.core.slots,
      isOver: () => part.isOver(),
      handle: options ? part.function(name, options) : part.function<unknown>(name),
    });
    const live = this.#healing && new LiveHandles(this.#healing, this.#succession, lend);
    return joinHandles(this.#parts.map(lend), live);
  }

  invoke(
    name: NameOf<Module>,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options?: InvokeOptions,
  ): number {
    const part = this.#routing.route(input, output, options?.worker);
    return part.invoke(name, input, output, options);
  }

  submit(
    name: NameOf<Module>,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options?: SubmitOptions,
  ): PublicCall {
    const part = this.#routing.route(input, output, options?.worker);
    if (this.#healing === undefined || !(options?.idempotent || isGone(part, options?.worker)))
      return part.submit(name, input, output, options);
    const attempt = (left: SubmitOptions | undefined): PublicCall | undefined => {
      const there = this.#routing.route(input, output, left?.worker);
      return isGone(there, left?.worker) ? undefined : there.submit(name, input, output, left);
    };
    return new HealedCall(attempt, this.#healing, options);
  }

  trySubmit(
    name: NameOf<Module>,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options?: SubmitOptions,
  ): Call | null {
    const part = this.#routing.route(input, output, options?.worker);
    return part.trySubmit(name, input, output, options);
  }

  submitMany(
    name: NameOf<Module>,
    inputs: readonly LeaseBuffer[],
    outputs: readonly LeaseBuffer[],
    options?: SubmitManyOptions,
  ): CallBatch {
    return beginMany(this.#routing, this.#healing, name, inputs, outputs, options);
  }

  async broadcast(
    name: NameOf<Module>,
    input: TypedArray,
    options?: BroadcastOptions,
  ): Promise<BroadcastResult[]> {
    const each = this.#parts.map(async (part) => {
      const results = await part.broadcast(name, input, options);
      // Of a worker that was replaced alone, the other part has the number.
      return results.filter(({ worker }) => this.holderOf(worker) === part);
    });
    return (await Promise.all(each)).flat().toSorted((a, b) => a.worker - b.worker);
  }

  release(): Promise<void> {
    return (this.#released ??= this.#release());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  async #release(): Promise<void> {
    this.#end({ type: "released" });
    try {
      await releaseAll([...this.#parts, ...this.#succession.former]);
    } finally {
      await Promise.all(this.#afterRelease.map((then) => then()));
    }
  }

  /** The parts that are not lost; of a lease that is over, all. */
  get #left(): readonly PartLease<Module>[] {
    const left = this.#parts.filter(({ state }) => state !== "lost");
    return left.length > 0 ? left : this.#parts;
  }

  /** The part whose memory a buffer is to lie in. */
  #partFor(what: string, options: MemoryOptions | undefined): PartLease<Module> {
    const { worker } = readOptions(what, MemoryOptions, options);
    return worker === undefined ? this.#left[0]! : this.#routing.partOf(worker);
  }

  /** The answers of the remaining parts; ignores a part that is lost meanwhile unless it was the last. */
  async #fromAll<Said>(
    ask: (part: PartLease<Module>) => Promise<Said>,
    asked: readonly PartLease<Module>[] = this.#left,
  ): Promise<Said[]> {
    const answers = await Promise.allSettled(asked.map(ask));
    const failed = answers.find(
      (answer, i) => answer.status === "rejected" && asked[i]!.state !== "lost",
    );
    const said = answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
    const fatal = failed ?? (said.length === 0 ? answers[0] : undefined);
    if (fatal?.status === "rejected") throw fatal.reason;
    return said;
  }

  #follow(part: PartLease<Module>): void {
    const forward = (event: LeaseEvent) => void (this.#over || this.#hub.tell(event));
    part.on("renewed", forward);
    part.on("revoking", forward);
    part.on("worker-lost", forward);
    part.on("log", forward);
    part.on("lost", (event) => {
      if (!this.#parts.includes(part)) return;
      if (this.#healing?.open || this.#parts.some(({ state }) => state !== "lost"))
        forward({ ...event, type: "part-lost" });
      else this.#end(event);
    });
  }

  #end(last: LeaseEvent): void {
    if (this.#over) return;
    this.#over = true;
    const why = last.type === "lost" ? last.message : "the lease was released";
    this.#healing?.end(notRun(new LeaseLost(`${why}; take a new lease`)));
    this.#hub.tell(last);
  }
}
