/**
 * A client's way to one worker: calls in flight by slot, and behind them the calls that wait for one. Slots are credits; a full
 * ring makes a call wait here, and never overwrites anything.
 */
import type { ClientEndpoint } from "../../../ffi/client-endpoint.ts";
import { END, STATUS } from "../../../ffi/layout.ts";
import {
  DeadlineExceeded,
  ProtocolError,
  QueueFull,
  type RfaasError,
  WorkerLost,
} from "../../base/errors.ts";
import type { ProgressReport } from "../../protocol/module-report.ts";
import { type Call, type CallDriver, type Flight, requestWord } from "./call.ts";
import { lateness, leftOf } from "./deadline.ts";
import { notify } from "../../base/notify.ts";
import type { Reactor } from "./reactor.ts";
import { describeEnd, functionErrorFrom, signalName } from "../failures/remote-error.ts";

/** Calls that may wait for a slot, per worker. */
export const MAX_QUEUED_CALLS = 65_536;
/** How often a queued call checks for a free slot when only abandoned calls hold the ring. */
const STUCK_RING_POLL_MS = 1;

/** How often a blocking wait for one call checks the other calls and their deadlines. */
const OTHERS_POLL_MS = 20;

/** What a lane needs of its lease. */
export interface LaneOwner {
  /** The lease's workers are numbered over all of its parts. */
  readonly numbering: { readonly firstWorker: number };
  reactor: Reactor;
  /** Tells the node that the caller no longer waits for a call. */
  abort(worker: number, slot: number, sequence: number, gently: boolean): void;
  /** Why the lease ended, as far as its memory knows. */
  ended(): [reason: number, detail: number];
  /** Why the way to a worker is lost, as far as the fabric knows. */
  disconnected(worker: number): RfaasError | undefined;
}

export class WorkerLane implements CallDriver {
  readonly index: number;
  readonly endpoint: ClientEndpoint;
  /** Set when the worker is gone: every later call ends with it. */
  lost: RfaasError | undefined;
  readonly #owner: LaneOwner;
  /** By slot. */
  readonly #flight: (Flight | undefined)[];
  #inFlight = 0;
  /** Where the oldest call in flight is likely to be. */
  #oldest = 0;
  /** Calls that wait for a slot, in order: first those that go before all others. */
  readonly #urgent = new Set<Flight>();
  readonly #queue = new Set<Flight>();
  /** Calls in flight or queued that have a deadline. */
  #withDeadline = 0;

  constructor(index: number, endpoint: ClientEndpoint, slots: number, owner: LaneOwner) {
    this.index = index;
    this.endpoint = endpoint;
    this.#owner = owner;
    this.#flight = new Array(slots).fill(undefined);
  }

  /** What the program calls the worker. */
  get number(): number {
    return this.#owner.numbering.firstWorker + this.index;
  }

  /** Calls in flight and waiting. */
  get load(): number {
    return this.#inFlight + this.#queued;
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
      call.endAttempt(0, this.lost);
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
    if (this.lost) return call.endAttempt(0, this.lost);
    if (!this.#post(call)) this.#urgent.add(call);
    this.#heedDeadline(call);
  }

  /** Ends calls in flight when their worker is lost. Returns whether there were any. */
  endStranded(): boolean {
    if (this.#inFlight === 0 || !this.endpoint.lost()) return false;
    this.#workerLost();
    return true;
  }

  /** Posts the call if a slot is free. */
  trySubmit(call: Flight): boolean {
    if (this.lost) {
      call.endAttempt(0, this.lost);
      return true;
    }
    if (this.#queued > 0) return false;
    const posted =
      this.#post(call) || (this.harvest() > 0 && this.#queued === 0 && this.#post(call));
    if (posted) this.#heedDeadline(call);
    return posted;
  }

  /** Ends every call that has an answer, posts those that waited. Returns how many ended. */
  harvest(): number {
    let ended = 0;
    const slots = this.#flight.length;
    const begin = this.#oldest;
    for (let i = 0, left = this.#inFlight; left > 0 && i < slots; i++) {
      const slot = (begin + i) & (slots - 1);
      if (this.#flight[slot] === undefined) continue;
      left--;
      const result = this.endpoint.test(slot);
      if (result === STATUS.pending) continue;
      this.#settle(slot, result);
      ended++;
    }
    // The answer to an abandoned call ends nothing, but frees a slot.
    if (this.#queued > 0) this.#pump();
    return ended;
  }

  /** Blocks, at most `limitMs`, until about half of the calls in flight have ended. */
  awaitHalf(limitMs: number): void {
    const slots = this.#flight.length;
    let slot = -1;
    for (let i = 0, left = (this.#inFlight + 1) >> 1; left > 0 && i < slots; i++) {
      slot = (this.#oldest + i) & (slots - 1);
      if (this.#flight[slot] !== undefined) left--;
    }
    if (slot < 0 || this.#flight[slot] === undefined) return;
    const result = this.endpoint.wait(slot, limitMs);
    if (result !== STATUS.pending) this.#settle(slot, result);
    this.#owner.reactor.rouse();
  }

  drive(call: Call): void {
    // Another worker may get the call meanwhile.
    while (!call.done && call.driver === this) {
      const waitedFor = call.slot >= 0 ? call : this.#oldestInFlight();
      if (waitedFor) this.#await(waitedFor, call);
      else this.#awaitAbandoned(call);
    }
    this.#owner.reactor.rouse();
  }

  watch(call: Call): void {
    this.#owner.reactor.watch(call);
  }

  /**
   * Abandons the call with `reason`; its slot stays taken until the worker answers. A call that has not been posted is never sent. A
   * call that was answered before its deadline was checked ends with its answer.
   */
  abandon(call: Flight, reason: unknown): void {
    if (call.done) return;
    if (call.slot >= 0 && reason instanceof DeadlineExceeded) {
      const result = this.endpoint.test(call.slot);
      if (result !== STATUS.pending) this.#settle(call.slot, result);
      if (call.done) return;
    }
    if (call.slot >= 0) {
      const { slot } = call;
      call.abandoned = { slot, sequence: this.endpoint.sequence(slot) };
      this.#forget(slot);
      this.endpoint.abandon(slot);
      this.abortSlot(slot, !(reason instanceof DeadlineExceeded));
      call.slot = -1;
    } else if (!this.#urgent.delete(call)) this.#queue.delete(call);
    call.end(0, reason);
    this.#pump();
  }

  /** Has the node abort the call. `gently`: the node tells the function, but does not stop it. */
  abortSlot(slot: number, gently: boolean): void {
    this.#owner.abort(this.index, slot, this.endpoint.sequence(slot), gently);
  }

  /** Whether the worker may still use the buffers of an abandoned call. */
  holds({ abandoned }: Pick<Flight, "abandoned">): boolean {
    if (abandoned === undefined || this.lost !== undefined) return false;
    return this.endpoint.held(abandoned.slot, abandoned.sequence);
  }

  /** The function has reported the progress of a call in flight. */
  progressed({ slot, sequence, fraction, message, dropped }: ProgressReport): void {
    const call = this.#flight[slot];
    if (call?.onProgress === undefined || this.endpoint.sequence(slot) !== sequence) return;
    notify(call.onProgress, {
      fraction,
      message: message ?? undefined,
      worker: this.number,
      dropped,
    });
  }

  /** The worker is lost: calls with an answer get it, all others end with `error`. A later report may name a better cause. */
  lose(error: RfaasError): void {
    const known = this.lost !== undefined;
    this.lost = error;
    if (known) return;
    this.harvest();
    const unanswered = [...this.#flight, ...this.#urgent, ...this.#queue];
    this.#flight.fill(undefined);
    this.#inFlight = 0;
    this.#urgent.clear();
    this.#queue.clear();
    for (const call of unanswered) {
      if (call === undefined) continue;
      call.slot = -1;
      call.endAttempt(0, error);
    }
  }

  /** The error for a negative result of `slot`'s call. */
  errorFor(result: number, slot: number, deadlineMs: number): RfaasError {
    switch (result) {
      case STATUS.functionError:
        return functionErrorFrom(this.endpoint.errorRecord(slot));
      case STATUS.deadline:
        return new DeadlineExceeded(deadlineMs);
      case STATUS.workerLost:
        return this.#workerLost();
      case STATUS.badRequest:
        return new ProtocolError(
          "the worker refused the request as out of bounds; this is a defect of rfaas, please report it",
        );
      default:
        return new ProtocolError(
          "the worker's answer is out of bounds; the function has damaged its process, release the lease",
        );
    }
  }

  #workerLost(): RfaasError {
    if (this.lost) return this.lost;
    if (!this.endpoint.lost())
      return new WorkerLost(
        this.number,
        `worker ${this.number} was restarted because a call did not end by its deadline; the calls it had begun are lost, call again`,
      );
    const [workerReason, workerDetail] = this.endpoint.ended();
    const [reason, detail] =
      workerReason === 0 ? this.#owner.ended() : [workerReason, workerDetail];
    const known = reason === END.alive ? this.#owner.disconnected(this.index) : undefined;
    const error =
      known ??
      new WorkerLost(
        this.number,
        `worker ${this.number} is lost: ${describeEnd(reason, detail)}; take a new lease`,
        { signal: reason === END.signalled ? signalName(detail) : undefined },
      );
    this.lose(error);
    return error;
  }

  /** Returns false when the ring is full. A call that cannot make its deadline any more ends here. */
  #post(call: Flight): boolean {
    const leftMs = leftOf(call);
    const late = lateness(call, leftMs);
    const slot = late === undefined ? this.#send(call, leftMs) : 0;
    if (slot === STATUS.ringFull) return false;
    this.#sent(call, slot, late);
    return true;
  }

  /** Completes the call. Callbacks of the program may run, and may re-enter the lane. */
  #sent(call: Flight, slot: number, late: RfaasError | undefined): void {
    if (late !== undefined) call.end(0, late);
    else if (slot < 0) call.endAttempt(0, this.errorFor(slot, -1, call.deadlineMs));
  }

  /** Returns the slot, or why there is none. */
  #send(call: Flight, leftMs: number): number {
    const queuedNs = call.timings === undefined ? 0 : Bun.nanoseconds() - call.queuedSinceNs;
    const slot = this.endpoint.post(
      requestWord(call),
      call.inputOffset,
      call.inputLength,
      call.outputOffset,
      call.outputCapacity,
      // The time that is left after queueing.
      leftMs === Infinity ? 0 : Math.ceil(leftMs),
    );
    if (slot < 0) return slot;
    if (call.timings !== undefined) call.timings.queuedNs = queuedNs;
    call.slot = slot;
    this.#flight[slot] = call;
    this.#inFlight++;
    return slot;
  }

  #forget(slot: number): void {
    this.#flight[slot] = undefined;
    this.#inFlight--;
    this.#oldest = (slot + 1) & (this.#flight.length - 1);
  }

  #oldestInFlight(): Flight | undefined {
    const slots = this.#flight.length;
    for (let i = 0; i < slots; i++) {
      const call = this.#flight[(this.#oldest + i) & (slots - 1)];
      if (call !== undefined) return call;
    }
    return undefined;
  }

  #settle(slot: number, result: number): void {
    const call = this.#flight[slot]!;
    this.#forget(slot);
    call.slot = -1;
    if (call.timings !== undefined) Object.assign(call.timings, this.endpoint.timings(slot));
    if (result >= 0) call.endAttempt(result);
    else call.endAttempt(0, this.errorFor(result, slot, call.deadlineMs));
    if (this.#queued > 0) this.#pump();
  }

  #pump(): void {
    for (const queue of [this.#urgent, this.#queue])
      for (const call of queue) {
        const leftMs = leftOf(call);
        const late = lateness(call, leftMs);
        const slot = late === undefined ? this.#send(call, leftMs) : 0;
        if (slot === STATUS.ringFull) return;
        queue.delete(call);
        this.#sent(call, slot, late);
      }
  }

  /** Blocks for `waitedFor`, no longer than `wanted` may take, and not past the deadlines of others: no timer fires meanwhile. */
  #await(waitedFor: Flight, wanted: Call): void {
    const { slot } = waitedFor;
    if (this.#withDeadline === 0 && this.#inFlight === 1)
      return this.#settle(slot, this.endpoint.wait(slot, 0));
    const limitMs = wanted.remainingMs();
    if (limitMs <= 0) return this.abandon(wanted, new DeadlineExceeded(wanted.deadlineMs));
    const result = this.endpoint.wait(
      slot,
      Math.max(1, Math.ceil(Math.min(limitMs, OTHERS_POLL_MS))),
    );
    if (result !== STATUS.pending) return this.#settle(slot, result);
    // So short a wait does not check that the worker is alive.
    if (this.endStranded()) return;
    // The worker may be blocked until the client takes the results of other calls.
    this.harvest();
    for (const call of [...this.#flight, ...this.#urgent, ...this.#queue])
      if (call !== undefined && call.remainingMs() <= 0)
        this.abandon(call, new DeadlineExceeded(call.deadlineMs));
  }

  #awaitAbandoned(wanted: Call): void {
    this.#pump();
    if (wanted.slot >= 0 || wanted.done) return;
    if (wanted.remainingMs() <= 0)
      return this.abandon(wanted, new DeadlineExceeded(wanted.deadlineMs));
    if (this.endpoint.lost()) {
      const error = this.#workerLost();
      // A retry may have moved the call to another worker.
      if (wanted.driver === this) wanted.end(0, error);
      return;
    }
    Bun.sleepSync(STUCK_RING_POLL_MS);
  }
}
