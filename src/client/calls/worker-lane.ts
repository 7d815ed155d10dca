/** A client's way to one worker: the calls in its slots, and behind them the calls that wait for one; how to wait for a call. */
import { STATUS } from "../../../ffi/layout.ts";
import { DeadlineExceeded, QueueFull, type RfaasError } from "../../base/errors.ts";
import { advised } from "../failures/advice.ts";
import { fatesOf, notRun } from "../failures/fate.ts";
import type { BatchFlight, BatchLane } from "./batch-flight.ts";
import type { Call, CallDriver, Flight } from "./call.ts";
import { lateness, leftOf } from "./deadline.ts";
import { LaneSlots } from "./lane-slots.ts";

/** Calls that may wait for a slot, per worker. */
export const MAX_QUEUED_CALLS = 65_536;
/** Calls without an answer after which those behind have most likely none either: one may be a promise. */
export const LIKELY = 2;
/** How often a queued call checks for a free slot when only abandoned calls hold the ring. */
const STUCK_RING_POLL_MS = 1;

/** How often a blocking wait for one call checks the other calls and their deadlines. */
const OTHERS_POLL_MS = 20;

export class WorkerLane extends LaneSlots implements CallDriver, BatchLane {
  /** Calls that wait for a slot, in order: first those that go before all others. */
  readonly #urgent = new Set<Flight>();
  readonly #queue = new Set<Flight>();
  /** Batches with rows that wait for a slot: they come after the queue. */
  readonly #batches = new Set<BatchFlight>();
  /** Calls in flight or queued that have a deadline. */
  #withDeadline = 0;

  /** Whether the worker is there and has no call: one that is made on the spot need not wait. */
  get idle(): boolean {
    return this.lost === undefined && this.load === 0;
  }

  /** Calls in flight and waiting. */
  get load(): number {
    return this.flights.count + this.#queued;
  }

  get #queued(): number {
    return this.#urgent.size + this.#queue.size;
  }

  /** Counts the call among those with a deadline until it ends. */
  #heedDeadline(call: Flight): void {
    if (call.deadlineMs === 0 || call.done) return;
    this.#withDeadline++;
    const { cleanUp } = call;
    call.cleanUp = () => {
      cleanUp?.();
      this.#withDeadline--;
    };
  }

  /** Posts the call, or lets it wait for a slot. Returns whether it has to wait. Throws {@link QueueFull}. */
  submit(call: Flight): boolean {
    if (this.lost) {
      call.endAttempt(0, notRun(this.lost));
      return false;
    }
    if (this.#queued === 0 && this.#post(call)) {
      this.#heedDeadline(call);
      return false;
    }
    if (this.#queue.size >= MAX_QUEUED_CALLS)
      throw new QueueFull(
        `${MAX_QUEUED_CALLS} calls already wait for worker ${this.number}; await some, or use lease.map`,
      );
    this.#queue.add(call);
    this.#heedDeadline(call);
    return true;
  }

  /** As {@link submit}, before all that wait. Directly after a call has ended, its slot is free. */
  submitFirst(call: Flight): void {
    if (this.lost) return call.endAttempt(0, notRun(this.lost));
    if (!this.#post(call)) this.#urgent.add(call);
    this.#heedDeadline(call);
  }

  /** Ends calls in flight when their worker is lost. Returns whether there were any. */
  endStranded(): boolean {
    if (this.flights.count === 0 || !this.endpoint.lost()) return false;
    this.workerLost();
    return true;
  }

  /** Posts the call if a slot is free. */
  trySubmit(call: Flight): boolean {
    if (this.lost) {
      call.endAttempt(0, notRun(this.lost));
      return true;
    }
    if (this.#queued > 0) return false;
    const posted =
      this.#post(call) || (this.harvest() > 0 && this.#queued === 0 && this.#post(call));
    if (posted) this.#heedDeadline(call);
    return posted;
  }

  /**
   * Ends calls that have an answer, and posts those that waited. Returns how many ended. Looks at all in flight, or, from the oldest on,
   * until it has met so many without an answer: a look disturbs the worker that is about to write one.
   */
  harvest(misses = this.flights.slots): number {
    const ended = this.flights.count > 0 ? this.sweep(misses) : 0;
    // The answer to an abandoned call ends nothing, but frees a slot. After a look that has found some, there is another one.
    this.pump(ended === 0);
    return ended;
  }

  /** Blocks, at most `limitMs`, until about half of the calls in flight have ended. */
  awaitHalf(limitMs: number): void {
    const slot = this.flights.nth((this.flights.count + 1) >> 1);
    if (slot < 0) return;
    const result = this.endpoint.wait(slot, limitMs);
    if (result !== STATUS.pending) this.settle(slot, result);
    this.owner.reactor.rouse();
  }

  drive(call: Call): void {
    // Others have answers as well: a look for each would cost more.
    if (call.slot >= 0 && this.flights.count > 1)
      this.harvest(call.slot === this.flights.oldest ? 1 : LIKELY);
    // Another worker may get the call meanwhile.
    while (!call.done && call.driver === this) {
      const slot = call.slot >= 0 ? call.slot : this.flights.nth(1);
      if (slot >= 0) this.#await(slot, call);
      else this.#awaitAbandoned(call);
    }
    this.owner.reactor.rouse();
  }

  watch(call: Call): void {
    this.owner.reactor.watch(call);
  }

  /**
   * Abandons the call with `reason`; its slot stays taken until the worker answers. A call that has not been posted is never sent. A
   * call that was answered before its deadline was checked ends with its answer.
   */
  abandon(call: Flight, reason: unknown): void {
    if (call.done) return;
    if (call.slot >= 0 && reason instanceof DeadlineExceeded) {
      const result = this.endpoint.test(call.slot);
      if (result !== STATUS.pending) this.settle(call.slot, result);
      if (call.done) return;
    }
    if (call.slot >= 0) {
      call.abandoned = this.abandonSlot(call.slot, reason);
      call.slot = -1;
    } else if (!this.#urgent.delete(call)) this.#queue.delete(call);
    call.end(0, reason);
    this.pump();
  }

  /**
   * The worker is lost: calls with an answer get it, all others end with `error`, or with what says that they did not run. A later report may
   * name a better cause.
   */
  lose(loss: RfaasError): void {
    const known = this.lost !== undefined;
    const error = (this.lost = advised(loss, this.owner.losses));
    if (known) return;
    this.harvest();
    const { calls, batches, rows } = this.flights;
    const fateOf = fatesOf(error, this.endpoint);
    const lostRows = batches.map(
      (batch, slot) => batch && { batch, row: rows[slot]!, error: fateOf(slot) },
    );
    const posted = calls.map((call, slot) => call && { call, error: fateOf(slot) });
    const waiting = [...this.#urgent, ...this.#queue];
    this.flights.clear();
    this.#urgent.clear();
    this.#queue.clear();
    for (const lost of lostRows) lost?.batch.failed(lost.row, lost.error, this);
    for (const lost of posted) if (lost) endLost(lost.call, lost.error);
    const spared = waiting.length > 0 ? notRun(error) : error;
    for (const call of waiting) endLost(call, spared);
    for (const batch of this.#batches) batch.fill(this, true);
    this.owner.losses.heard?.();
  }

  enlist(batch: BatchFlight): void {
    this.#batches.add(batch);
  }

  dismiss(batch: BatchFlight): void {
    this.#batches.delete(batch);
  }

  abandonRows(batch: BatchFlight, reason: unknown): void {
    const { batches, rows } = this.flights;
    for (let slot = 0; slot < batches.length; slot++) {
      if (batches[slot] !== batch) continue;
      if (reason instanceof DeadlineExceeded) {
        const result = this.endpoint.test(slot);
        if (result !== STATUS.pending) this.settle(slot, result);
        if (batches[slot] !== batch) continue;
      }
      const row = rows[slot]!;
      batch.abandoned(row, this.abandonSlot(slot, reason), reason, this);
    }
    this.pump();
  }

  /** Returns false when the ring is full. A call that cannot make its deadline any more ends here. */
  #post(call: Flight): boolean {
    const leftMs = leftOf(call);
    const late = lateness(call, leftMs);
    const slot = late === undefined ? this.send(call, leftMs) : 0;
    if (slot === STATUS.ringFull) return false;
    this.#sent(call, slot, late);
    return true;
  }

  /** Completes the call. Callbacks of the program may run, and may re-enter the lane. */
  #sent(call: Flight, slot: number, late: RfaasError | undefined): void {
    if (late !== undefined) call.end(0, late);
    else if (slot < 0) call.endAttempt(0, this.errorFor(slot, -1, call.deadlineMs));
  }

  protected pump(eagerly = true): void {
    if (this.#queued > 0 || this.#batches.size > 0) this.#pump(eagerly);
  }

  #pump(eagerly: boolean): void {
    for (const queue of [this.#urgent, this.#queue])
      for (const call of queue) {
        const leftMs = leftOf(call);
        const late = lateness(call, leftMs);
        const slot = late === undefined ? this.send(call, leftMs) : 0;
        if (slot === STATUS.ringFull) return;
        queue.delete(call);
        this.#sent(call, slot, late);
      }
    for (const batch of this.#batches) batch.fill(this, eagerly);
  }

  /** Blocks for a slot's call, no longer than `wanted` may take, and not past the deadlines of others: no timer fires meanwhile. */
  #await(slot: number, wanted: Call): void {
    if (this.#withDeadline === 0 && this.flights.count === 1 && wanted.slot === slot)
      return this.settle(slot, this.endpoint.wait(slot, 0));
    const limitMs = wanted.remainingMs();
    if (limitMs <= 0) return this.abandon(wanted, new DeadlineExceeded(wanted.deadlineMs));
    const result = this.endpoint.wait(
      slot,
      Math.max(1, Math.ceil(Math.min(limitMs, OTHERS_POLL_MS))),
    );
    if (result !== STATUS.pending) return this.settle(slot, result);
    this.heed();
  }

  /** A short wait has brought nothing: ends what is lost or late. */
  heed(): void {
    // So short a wait does not check that the worker is alive.
    if (this.endStranded()) return;
    // The worker may be blocked until the client takes the results of other calls.
    this.harvest();
    const { calls, batches } = this.flights;
    for (const call of [...calls, ...this.#urgent, ...this.#queue])
      if (call !== undefined && call.remainingMs() <= 0)
        this.abandon(call, new DeadlineExceeded(call.deadlineMs));
    for (const batch of new Set([...batches, ...this.#batches]))
      if (batch !== undefined && batch.remainingMs() <= 0) batch.expire();
  }

  #awaitAbandoned(wanted: Call): void {
    this.#pump(true);
    if (wanted.slot >= 0 || wanted.done) return;
    if (wanted.remainingMs() <= 0)
      return this.abandon(wanted, new DeadlineExceeded(wanted.deadlineMs));
    if (this.endpoint.lost()) {
      const error = this.workerLost();
      // A retry may have moved the call to another worker.
      if (wanted.driver === this) wanted.end(0, error);
      return;
    }
    Bun.sleepSync(STUCK_RING_POLL_MS);
  }
}

function endLost(call: Flight, error: RfaasError): void {
  call.slot = -1;
  call.endAttempt(0, error);
}
