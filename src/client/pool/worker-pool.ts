/** Workers that come and go with the calls there are: leases of one worker each, taken while calls wait, given back when idle. */
import { LeaseLost, type LeaseRefused, QueueFull, UsageError } from "../../base/errors.ts";
import { type Clock, SYSTEM_CLOCK, type Timer } from "../../base/clock.ts";
import { withinDeadline } from "../calls/deadline.ts";
import { withinCall } from "../calls/within-call.ts";
import { notRun } from "../failures/fate.ts";
import { CLOSED } from "../lease/healing.ts";
import type { Lease } from "../lease/lease.ts";
import { releaseAll } from "../lease/release-all.ts";
import { type ManyCalls, mapOf } from "../map/values.ts";
import type { AllocateOptions } from "../options/allocate-options.ts";
import { type SubmitOptions, checkSubmitOptions } from "../options/call-options.ts";
import type { PoolOptions } from "../options/pool-options.ts";
import { type Call, Member } from "./member.ts";

/** A call that has waited for so long gets a worker of its own, if the pool may have more: a lease takes some milliseconds. */
const GROW_AFTER_MS = 10;
/** After a request for more has failed. */
const RETRY_MS = 500;

/** With these a request ends that another may not end with. */
const NO_ROOM = new Set(["RFAAS_CLUSTER_FULL", "RFAAS_NODE_FULL", "RFAAS_NODE_DRAINING"]);

interface Waiting {
  sinceMs: number;
  got(member: Member): void;
  failed(error: unknown): void;
}

/** Its methods are described where `Pool` is. */
export class WorkerPool {
  readonly #take: (signal: AbortSignal | undefined) => Promise<Lease>;
  readonly #options: Required<
    Pick<PoolOptions, "min" | "max" | "idleMs" | "concurrency" | "maxQueued" | "whenFull">
  >;
  readonly #clock: Clock;
  readonly #members = new Set<Member>();
  readonly #queue = new Set<Waiting>();
  /** Leases that were asked for. */
  readonly #coming = new Set<Promise<void>>();
  #notBeforeMs = 0;
  #look: Timer | undefined;
  #lookAtMs = 0;
  #closing = false;
  #drained: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  /** With its first workers. When it throws, nothing is held. */
  static async open(
    allocate: (options: AllocateOptions) => Promise<Lease>,
    given: PoolOptions,
    clock: Clock = SYSTEM_CLOCK,
  ): Promise<WorkerPool> {
    const { signal, ...options } = given;
    const { min = 0, max = Infinity } = options;
    if (min > max)
      throw new UsageError(
        `min must be at most max; they are ${min} and ${max}; raise max, or lower min`,
        { path: "min" },
      );
    const pool = new WorkerPool(allocate, options, clock);
    const first = Array.from({ length: pool.#options.min }, () => pool.#grow(signal));
    const failed = (await Promise.allSettled(first)).find((end) => end.status === "rejected");
    if (!failed) return pool;
    await pool.close();
    throw failed.reason;
  }

  private constructor(
    allocate: (options: AllocateOptions) => Promise<Lease>,
    options: Omit<PoolOptions, "signal">,
    clock: Clock,
  ) {
    const { min = 1, max = Math.max(min, 4), idleMs = 30_000, concurrency = 1 } = options;
    const { maxQueued = 1000, whenFull = "refuse", ...rest } = options;
    const { min: _, max: __, idleMs: ___, concurrency: ____, ...lease } = rest;
    this.#options = { min, max, idleMs, concurrency, maxQueued, whenFull };
    this.#clock = clock;
    this.#take = (signal) =>
      allocate({ ...lease, workers: 1, onLoss: "replace", wait: false, ...(signal && { signal }) });
  }

  get workers(): number {
    return this.#members.size;
  }

  get inFlight(): number {
    return this.#members.values().reduce((sum, { calls }) => sum + calls, 0);
  }

  get queued(): number {
    return this.#queue.size;
  }

  function(name: string): Call & Pick<ManyCalls<unknown, unknown>, "map"> {
    const call: Call = (value, options) => this.#call(name, value, options);
    const { max: workers, concurrency: slots } = this.#options;
    return Object.assign(call, { map: mapOf(call, { workers, slots }) });
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #call(name: string, value: unknown, given: SubmitOptions | undefined): Promise<unknown> {
    if (given !== undefined) checkSubmitOptions(given);
    if (this.#closing) throw closedError();
    const began = this.#clock.nowMs();
    const member = this.#free() ?? (await this.#wait(given));
    try {
      const left = withinDeadline(given, this.#clock.nowMs() - began);
      return await member.call(name, value, left);
    } finally {
      member.calls--;
      this.#ended(member);
    }
  }

  /** The one with the fewest calls, which then has one more; undefined where all have enough. */
  #free(): Member | undefined {
    if (this.#queue.size > 0) return undefined;
    const member = this.#best();
    if (member) member.calls++;
    return member;
  }

  #best(): Member | undefined {
    let best: Member | undefined;
    for (const member of this.#members) {
      if (member.calls >= this.#options.concurrency || !member.isUp) continue;
      if (best === undefined || member.calls < best.calls) best = member;
    }
    return best;
  }

  async #wait(options: SubmitOptions | undefined): Promise<Member> {
    const { maxQueued, whenFull } = this.#options;
    if (whenFull === "refuse" && this.#queue.size >= maxQueued)
      throw new QueueFull(
        `${maxQueued} calls already wait for workers of the pool; await some, let it wait with whenFull, or raise max or maxQueued`,
      );
    const turn = Promise.withResolvers<Member>();
    const waiting: Waiting = {
      sinceMs: this.#clock.nowMs(),
      got: turn.resolve,
      failed: turn.reject,
    };
    this.#queue.add(waiting);
    this.#lookSoon();
    try {
      await withinCall(turn.promise, options);
      return await turn.promise;
    } catch (error) {
      // A worker that came for it meanwhile is for the next one.
      if (!this.#queue.delete(waiting))
        void turn.promise.then(
          (member) => {
            member.calls--;
            this.#ended(member);
          },
          () => {},
        );
      this.#endIfDrained();
      throw error;
    }
  }

  /** Gives free workers to those that wait, in their order. */
  #serve(): void {
    for (const waiting of this.#queue) {
      const member = this.#best();
      if (member === undefined) break;
      member.calls++;
      this.#queue.delete(waiting);
      waiting.got(member);
    }
    if (this.#queue.size > 0) this.#lookSoon();
  }

  #ended(member: Member): void {
    if (member.calls === 0) member.idleSinceMs = this.#clock.nowMs();
    this.#serve();
    this.#endIfDrained();
    if (member.calls === 0) this.#lookSoon();
  }

  #endIfDrained(): void {
    if (this.#closing && this.#queue.size === 0 && this.inFlight === 0) this.#drained?.();
  }

  /** One timer at a time: to grow while calls wait, and sooner for that; to shrink while workers are idle. */
  #lookSoon(): void {
    // While it closes, calls that wait still need workers.
    if (this.#closing && this.#queue.size === 0) return;
    const grows = this.#queue.size > 0 && this.#hasRoom;
    const shrinks = this.#members.size > this.#options.min;
    if (!grows && !shrinks) return;
    const inMs = grows ? GROW_AFTER_MS : this.#options.idleMs;
    const atMs = this.#clock.nowMs() + inMs;
    if (this.#look && this.#lookAtMs <= atMs) return;
    this.#look?.clear();
    this.#lookAtMs = atMs;
    this.#look = this.#clock.after(inMs, () => {
      this.#look = undefined;
      this.#growForThoseThatWait();
      this.#shrink();
      this.#lookSoon();
    });
    if (!grows) this.#look.unref();
  }

  get #hasRoom(): boolean {
    return this.#members.size + this.#coming.size < this.#options.max;
  }

  #growForThoseThatWait(): void {
    const nowMs = this.#clock.nowMs();
    if (nowMs < this.#notBeforeMs) return;
    const late = this.#queue.values().filter(({ sinceMs }) => nowMs - sinceMs >= GROW_AFTER_MS);
    const wanted = Math.ceil(late.reduce((sum) => sum + 1, 0) / this.#options.concurrency);
    for (let more = wanted - this.#coming.size; more > 0 && this.#hasRoom; more--)
      void this.#grow().catch((error: unknown) => this.#notGrown(error));
  }

  async #grow(signal?: AbortSignal): Promise<void> {
    const joined = this.#join(signal);
    this.#coming.add(joined);
    try {
      await joined;
    } finally {
      this.#coming.delete(joined);
    }
    this.#serve();
    // It may have come too late for any.
    this.#lookSoon();
  }

  /** One more lease is the pool's. */
  async #join(signal: AbortSignal | undefined): Promise<void> {
    const member = new Member(await this.#take(signal), this.#clock.nowMs());
    this.#members.add(member);
    member.onChange(
      () => this.#serve(),
      () => this.#gone(member),
    );
  }

  /** Calls wait on for room, or for the workers that there are; with neither they end, and say why. */
  #notGrown(error: unknown): void {
    this.#notBeforeMs = this.#clock.nowMs() + RETRY_MS;
    const { code, limit } = error as Partial<LeaseRefused>;
    const mayPass = NO_ROOM.has(code!) || limit?.passes;
    if (CLOSED.has(code!)) this.#fail(closedWithIt(error));
    else if (this.#members.size === 0 && !mayPass) this.#fail(error);
    this.#lookSoon();
  }

  #gone(member: Member): void {
    this.#members.delete(member);
    if (this.#members.size + this.#coming.size === 0)
      this.#fail(notRun(new LeaseLost("all workers of the pool are gone; take a new pool")));
    else this.#lookSoon();
  }

  #fail(error: unknown): void {
    for (const waiting of this.#queue) waiting.failed(error);
    this.#queue.clear();
    this.#endIfDrained();
  }

  #shrink(): void {
    const { min, idleMs } = this.#options;
    const nowMs = this.#clock.nowMs();
    for (const member of this.#members) {
      if (this.#members.size <= min) return;
      if (member.calls > 0 || nowMs - member.idleSinceMs < idleMs) continue;
      this.#members.delete(member);
      void member.release().catch(() => {});
    }
  }

  async #close(): Promise<void> {
    this.#closing = true;
    const drained = new Promise<void>((resolve) => (this.#drained = resolve));
    this.#endIfDrained();
    await drained;
    this.#look?.clear();
    await Promise.allSettled(this.#coming);
    await releaseAll([...this.#members].map((member) => member.lease));
    this.#members.clear();
  }
}

const closedWithIt = (cause: unknown) =>
  notRun(new LeaseLost("the pool's invoker was closed; open another one", { cause }));
const closedError = () => notRun(new LeaseLost("the pool was closed; open another one"));
