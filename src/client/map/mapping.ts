/**
 * Many calls as one asynchronous iteration: inputs are taken while there is room, calls are kept in flight on all workers, results
 * come in order or as they finish. Written by hand, since a generator would cost more than a call.
 */
import { LeaseLost, OutOfLeaseMemory } from "../../base/errors.ts";
import { mayHaveRun, saysNotRun } from "../failures/fate.ts";
import { ofInput } from "../failures/of-input.ts";
import { type MapItem, newItem, settled } from "./item.ts";
import { Followed, type JoiningCores } from "./live-cores.ts";
import type { Source } from "./options.ts";
import type { MapShape } from "./shape.ts";
import { Pace, busiestOf, harvestAll } from "./pace.ts";
import { type Running, run } from "./running.ts";
import type { Station } from "./station.ts";
import type { MapOptions } from "../options/call-options.ts";
import { mayTryAgain } from "../failures/retry.ts";
import type { LeaseCore } from "../calls/submission.ts";
import { LIKELY } from "../calls/worker-lane.ts";
import { onAbort, reasonOf } from "../../base/waiting.ts";

/** How long the map may block for the next few results. */
const QUICK_WAIT_MS = 1;

type Step<Yielded> = IteratorResult<Yielded, undefined>;
const OVER: IteratorReturnResult<undefined> = { done: true, value: undefined };

export class Mapping<Value, Result, Yielded = Result> implements AsyncIterableIterator<
  Yielded,
  undefined
> {
  readonly #leases: readonly LeaseCore[];
  readonly #joining: JoiningCores | undefined;
  readonly #name: string;
  readonly #values: Source<Value>;
  readonly #shape: MapShape<Value, Result>;
  readonly #options: MapOptions;
  #running: Running<Value, Result> | undefined;
  #over = false;
  #closed: Promise<void> | undefined;
  /** The error that the next read throws. */
  #failure: { error: unknown } | undefined;

  /** The next input's number. */
  #index = 0;
  /** Inputs that were taken and not yielded. */
  #ahead = 0;
  #inFlight = 0;
  /** Items for another attempt. */
  readonly #again: MapItem<Value, Result>[] = [];

  #waiters: PromiseWithResolvers<Step<Yielded>>[] = [];
  /** Set while calls are started or harvested: calls that end meanwhile are handled afterwards. */
  #busy = false;
  readonly #followed: Followed;
  readonly #pace = new Pace();
  #onDrained: (() => void) | undefined;
  #endHearing: () => void = () => {};
  #endJoining: (() => void) | undefined;

  constructor(
    { leases, joining }: { leases: readonly LeaseCore[]; joining?: JoiningCores | undefined },
    name: string,
    values: Source<Value>,
    shape: MapShape<Value, Result>,
    options: MapOptions,
  ) {
    this.#leases = leases;
    this.#joining = joining;
    this.#followed = new Followed(leases);
    this.#name = name;
    this.#values = values;
    this.#shape = shape;
    this.#options = options;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Step<Yielded>> {
    if (this.#over) return this.#afterEnd();
    let running = this.#running;
    if (running === undefined)
      try {
        running = this.#open();
      } catch (error) {
        this.#over = true;
        return Promise.reject(error);
      }
    if (this.#waiters.length === 0 && !this.#pace.givesWay) {
      this.#fill(running);
      if (running.items.first?.done !== true) this.#look(running);
      const { first } = running.items;
      if (first?.done === true && this.#canYield(first, running) && !this.#mustGiveWay())
        return Promise.resolve(this.#take(running));
    }
    const waiter = Promise.withResolvers<Step<Yielded>>();
    this.#waiters.push(waiter);
    this.#progress();
    return waiter.promise;
  }

  /** Takes no more inputs, and resolves when the calls in flight have ended. */
  async return(): Promise<Step<Yielded>> {
    await this.#close();
    return OVER;
  }

  /** A call has ended. */
  #ended(station: Station<Value, Result>, bytes: number, error: unknown): void {
    const { stations, terms } = this.#running!;
    const item = station.item!;
    station.item = undefined;
    this.#inFlight--;
    if (station.abandoned) station.leaveBuffers();
    if (this.#over) {
      if (this.#inFlight === 0) this.#onDrained?.();
      return;
    }
    if (error instanceof LeaseLost && saysNotRun(error)) this.#moveOn(item, station, error);
    else {
      if (error === undefined) this.#read(item, station, bytes);
      else if (!station.abandoned && mayTryAgain(item.attempt, terms, error)) {
        item.attempt++;
        item.ran ||= !saysNotRun(error);
        item.failedOn = station.lane;
        this.#again.push(item);
      } else this.#fail(item, error, false);
      stations.giveBack(station);
    }
    if (this.#waiters.length > 0) this.#progress();
  }

  #open(): Running<Value, Result> {
    const { signal } = this.#options;
    const running = run<Value, Result>(this.#leases, this.#name, this.#values, this.#options, {
      ended: (station, bytes, error) => this.#ended(station, bytes, error),
      heed: (look) => this.#heedDeadlines(look),
      heeded: () => this.#progress(),
    });
    this.#running = running;
    if (signal) this.#endHearing = onAbort(signal, () => this.#aborted());
    this.#endJoining = this.#joining?.onJoined((...change) => this.#joined(...change));
    this.#pace.turned();
    return running;
  }

  // ---- from inputs to calls ----

  /** Starts as many calls as there is room for. */
  #fill(running: Running<Value, Result>): void {
    if (this.#busy) return;
    this.#busy = true;
    const { stations, source, maxAhead } = running;
    for (;;) {
      const again = this.#again[0];
      const loss = again?.home && stations.lossAt(again.home);
      if (loss !== undefined && this.#joining?.open) break;
      if (again !== undefined && loss !== undefined) {
        this.#again.shift();
        this.#fail(again, loss, false);
        continue;
      }
      if (again === undefined && (source.exhausted || this.#ahead >= maxAhead)) break;
      const station = stations.take(again);
      if (station === undefined) break;
      if (again !== undefined) this.#again.shift();
      const item = again ?? this.#pull(running);
      if (item === undefined) {
        stations.giveBack(station);
        break;
      }
      this.#start(item, station, running);
    }
    if (stations.size === 0 && !this.#joining?.open) this.#strand(running);
    this.#busy = false;
  }

  #pull(running: Running<Value, Result>): MapItem<Value, Result> | undefined {
    const { source } = running;
    try {
      return source.take() ? this.#newItem(source.value, running) : undefined;
    } catch (error) {
      this.#fail(this.#newItem(undefined as Value, running), error, true);
      return undefined;
    }
  }

  #newItem(value: Value, { items, terms }: Running<Value, Result>): MapItem<Value, Result> {
    const item = newItem<Value, Result>(this.#index++, value);
    this.#ahead++;
    if (terms.ordered) items.push(item);
    return item;
  }

  #start(
    item: MapItem<Value, Result>,
    station: Station<Value, Result>,
    { stations, terms, deadlines }: Running<Value, Result>,
  ): void {
    const { lease } = station;
    if (this.#leases.length > 1) item.home ??= this.#shape.homeOf?.(item.value, this.#leases);
    if (item.home !== undefined && item.home !== lease) {
      stations.giveBack(station);
      return void this.#again.unshift(item);
    }
    const refused = lease.term.endsSoon
      ? lease.term.refusal(terms.durationMs || terms.deadlineMs)
      : undefined;
    if (refused) return this.#moveOn(item, station, refused);
    try {
      this.#shape.load(item.value, station);
    } catch (error) {
      if (error instanceof OutOfLeaseMemory && stations.retire(station)) this.#again.unshift(item);
      else this.#fail(item, error, true);
      return;
    }
    deadlines.begin(item);
    station.begin(item);
    this.#inFlight++;
    try {
      station.lane.submit(station);
    } catch (error) {
      station.end(0, error);
    }
  }

  /** Workers have come in the place of others; or none will come any more. */
  #joined(core?: LeaseCore, former?: LeaseCore): void {
    if (this.#over) return;
    if (core) this.#running!.stations.join(core, this.#name);
    for (const item of this.#again) if (item.home === former) item.home = undefined;
    this.#followed.joined(core, former);
    this.#progress();
  }

  /** No worker takes calls any more: what is left cannot be done. */
  #strand(running: Running<Value, Result>): void {
    const { stations, source } = running;
    for (const item of this.#again.splice(0)) this.#fail(item, stations.loss, true);
    if (source.exhausted) return;
    void source.close().catch(() => {});
    this.#fail(this.#newItem(undefined as Value, running), stations.loss, true);
  }

  /** The lease begins no more calls: another one takes the item, which has not been tried, or it fails. */
  #moveOn(item: MapItem<Value, Result>, station: Station<Value, Result>, why: LeaseLost): void {
    const { stations } = this.#running!;
    stations.giveBack(station);
    if (stations.leave(station.lease, why) && item.home === undefined) this.#again.unshift(item);
    else this.#fail(item, why, false);
  }

  // ---- from calls to results ----

  #read(item: MapItem<Value, Result>, station: Station<Value, Result>, bytes: number): void {
    try {
      item.result = this.#shape.result(item.value, item.index, station, bytes);
    } catch (error) {
      return this.#fail(item, error, true);
    }
    this.#finish(item);
  }

  #fail(item: MapItem<Value, Result>, error: unknown, fatal: boolean): void {
    item.failed = true;
    item.fatal = fatal;
    item.error = item.ran ? mayHaveRun(error) : error;
    this.#finish(item);
  }

  #finish(item: MapItem<Value, Result>): void {
    const { terms, items } = this.#running!;
    item.done = true;
    if (!terms.ordered) items.push(item);
  }

  #canYield(item: MapItem<Value, Result>, { terms }: Running<Value, Result>): boolean {
    return !item.failed || (terms.settled && !item.fatal);
  }

  #take({ items, terms }: Running<Value, Result>): IteratorYieldResult<Yielded> {
    const item = items.shift()!;
    this.#ahead--;
    this.#pace.yielded();
    // The type of the map, fixed when it was made, says which of the two it is.
    const value = (terms.settled ? settled(item) : item.result) as Yielded;
    return { done: false, value };
  }

  /** Ends the calls that have an answer, and starts others in their place. */
  #look(running: Running<Value, Result>): void {
    this.#busy = true;
    harvestAll(this.#leases, LIKELY);
    if (running.items.first?.done !== true && this.#inFlight > 0) {
      const quick = this.#pace.isQuick();
      if (quick) busiestOf(this.#leases)?.awaitHalf(QUICK_WAIT_MS);
      harvestAll(this.#leases, quick ? LIKELY : undefined);
    }
    this.#busy = false;
    this.#fill(running);
  }

  // ---- readers that wait ----

  #progress(): void {
    const running = this.#running;
    if (running === undefined || this.#busy || this.#pace.givesWay || this.#over) return;
    this.#fill(running);
    const { items, source } = running;
    while (this.#waiters.length > 0) {
      const { first } = items;
      if (first?.done !== true) break;
      if (!this.#canYield(first, running)) return this.#failWith(ofInput(first.error, first.index));
      this.#waiters.shift()!.resolve(this.#take(running));
      this.#fill(running);
    }
    if (this.#waiters.length > 0 && source.exhausted && this.#ahead === 0) void this.#close();
    this.#followed.set(this.#waiters.length > 0 && this.#inFlight > 0);
  }

  #mustGiveWay(): boolean {
    return this.#pace.mustGiveWay(() => this.#progress());
  }

  /** Returns whether calls are in flight afterwards. */
  #heedDeadlines(look: () => void): boolean {
    this.#busy = true;
    look();
    this.#busy = false;
    return this.#inFlight > 0;
  }

  // ---- the end ----

  #aborted(): void {
    this.#failWith(reasonOf(this.#options.signal!));
    this.#abandon(() => true);
  }

  #failWith(error: unknown): void {
    if (this.#over) return;
    this.#failure = { error };
    void this.#close().catch(() => {});
  }

  #afterEnd(): Promise<Step<Yielded>> {
    const step = (): Step<Yielded> => {
      const failure = this.#failure;
      this.#failure = undefined;
      if (failure) throw failure.error;
      return OVER;
    };
    return this.#close().then(step, (error) => {
      if (this.#failure) return step();
      throw error;
    });
  }

  #close(): Promise<void> {
    if (this.#closed) return this.#closed;
    this.#over = true;
    this.#closed = this.#running ? this.#windUp(this.#running) : Promise.resolve();
    const waiters = this.#waiters.splice(0);
    for (const { resolve } of waiters) resolve(this.#afterEnd());
    return this.#closed;
  }

  async #windUp({ source, stations, deadlines }: Running<Value, Result>): Promise<void> {
    try {
      const closed = source.close();
      closed.catch(() => {});
      this.#abandon(({ slot }) => slot < 0);
      if (this.#inFlight > 0) {
        const drained = new Promise<void>((resolve) => (this.#onDrained = resolve));
        this.#followed.set(true);
        await drained;
      }
      await closed;
    } finally {
      this.#followed.set(false);
      deadlines.close();
      this.#endJoining?.();
      this.#endHearing();
      stations.close();
    }
  }

  #abandon(which: (station: Station<Value, Result>) => boolean): void {
    for (const station of [...this.#running!.stations])
      if (!station.done && which(station))
        station.lane.abandon(station, this.#options.signal?.reason ?? new Error("not wanted"));
  }
}
