/**
 * What a lane has in the slots of its worker's ring: it posts calls, takes their answers out, and tells them of their end. Slots are
 * credits: one that is not free is never written.
 */
import type { ClientEndpoint } from "../../../ffi/client-endpoint.ts";
import { END, STATUS } from "../../../ffi/layout.ts";
import {
  ConnectionLost,
  DeadlineExceeded,
  LeaseLost,
  ProtocolError,
  type RfaasError,
} from "../../base/errors.ts";
import { notify } from "../../base/notify.ts";
import type { ProgressReport } from "../../protocol/module-report.ts";
import { adviceFor } from "../failures/advice.ts";
import { notRun } from "../failures/fate.ts";
import { functionErrorFrom } from "../failures/remote-error.ts";
import { workerLoss, workerRestarted } from "../failures/worker-loss.ts";
import type { BatchFlight } from "./batch-flight.ts";
import { type Flight, type Posted, requestWord } from "./call.ts";
import { Endings, type Failure } from "./endings.ts";
import { InFlight } from "./in-flight.ts";
import type { LaneOwner } from "./lane-owner.ts";

export abstract class LaneSlots {
  readonly index: number;
  readonly endpoint: ClientEndpoint;
  /** Set when the worker is gone: every later call ends with it. */
  lost: RfaasError | undefined;
  protected readonly owner: LaneOwner;
  protected readonly flights: InFlight;
  readonly #endings: Endings;

  constructor(index: number, endpoint: ClientEndpoint, slots: number, owner: LaneOwner) {
    this.index = index;
    this.endpoint = endpoint;
    this.owner = owner;
    this.flights = new InFlight(slots);
    this.#endings = new Endings(({ result, deadlineMs }) => this.errorFor(result, -1, deadlineMs));
  }

  /** The worker is lost: calls with an answer get it, all others end with `error`. A later report may name a better cause. */
  abstract lose(error: RfaasError): void;

  /** Posts what waits: of batches, unless `eagerly`, only where it is worth a call of the shim. */
  protected abstract pump(eagerly?: boolean): void;

  /** What the program calls the worker. */
  get number(): number {
    return this.owner.numbering.firstWorker + this.index;
  }

  get slots(): number {
    return this.flights.slots;
  }

  get free(): number {
    return this.flights.free;
  }

  /** Returns the slot, or why there is none. */
  protected send(call: Flight, leftMs: number): number {
    const queuedNs = call.timings === undefined ? 0 : Bun.nanoseconds() - call.queuedSinceNs;
    const slot = this.endpoint.post(
      requestWord(call),
      call.inputOffset,
      call.inputLength,
      call.outputOffset,
      call.outputCapacity,
      wholeMs(leftMs),
    );
    if (slot < 0) return slot;
    if (call.timings !== undefined) call.timings.queuedNs = queuedNs;
    call.slot = slot;
    this.flights.add(slot, call);
    return slot;
  }

  /** Ends what the endpoint finds answered. */
  protected sweep(misses: number): number {
    const { endpoint } = this;
    const flights = this.flights;
    const count = endpoint.harvest(flights.oldest, misses);
    if (count === 0) return 0;
    const begin = this.#endings.length;
    let slot = 0;
    for (let i = 0; i < count; i++) {
      slot = endpoint.found[2 * i]!;
      this.#take(slot, endpoint.found[2 * i + 1]!);
    }
    flights.oldest = (slot + 1) & (flights.slots - 1);
    this.#endings.tellFrom(begin);
    return count;
  }

  protected settle(slot: number, result: number): void {
    const begin = this.#endings.length;
    this.#take(slot, result);
    this.#endings.tellFrom(begin);
    this.pump();
  }

  /** Takes an answered call out of its slot. What the slot says of it is read here, before another call has it. */
  #take(slot: number, result: number): void {
    const flights = this.flights;
    const batch = flights.batches[slot];
    if (batch !== undefined) {
      const row = flights.rows[slot]!;
      flights.forget(slot);
      if (result >= 0) return batch.landed(row, result);
      const end = (error: RfaasError): void => batch.failed(row, error, this);
      return this.#endings.failed(this.#failureOf(slot, result, batch.deadlineMs, end));
    }
    const call = flights.calls[slot];
    if (call === undefined) return;
    flights.forget(slot);
    call.slot = -1;
    if (call.timings !== undefined) Object.assign(call.timings, this.endpoint.timings(slot));
    if (result >= 0) return this.#endings.succeeded(call, result);
    const end = (error: RfaasError): void => call.endAttempt(0, error);
    this.#endings.failed(this.#failureOf(slot, result, call.deadlineMs, end));
  }

  #failureOf(slot: number, result: number, deadlineMs: number, end: Failure["end"]): Failure {
    const error =
      result === STATUS.workerLost ? undefined : this.errorFor(result, slot, deadlineMs);
    return { result, error, deadlineMs, end };
  }

  /** The slot stays taken until the worker answers. */
  protected abandonSlot(slot: number, reason: unknown): Posted {
    this.flights.forget(slot);
    this.endpoint.abandon(slot);
    this.abortSlot(slot, !(reason instanceof DeadlineExceeded));
    return { slot, sequence: this.endpoint.sequence(slot) };
  }

  /** Has the node abort the call. `gently`: the node tells the function, but does not stop it. */
  abortSlot(slot: number, gently: boolean): void {
    this.owner.abort(this.index, slot, this.endpoint.sequence(slot), gently);
  }

  /** Whether the worker may still use the buffers of an abandoned call. */
  holds({ abandoned }: Pick<Flight, "abandoned">): boolean {
    if (abandoned === undefined || this.lost !== undefined) return false;
    return this.endpoint.held(abandoned.slot, abandoned.sequence);
  }

  /** The function has reported the progress of a call in flight. */
  progressed({ slot, sequence, fraction, message, dropped }: ProgressReport): void {
    const call = this.flights.calls[slot];
    if (call?.onProgress === undefined || this.endpoint.sequence(slot) !== sequence) return;
    notify(call.onProgress, {
      fraction,
      message: message ?? undefined,
      worker: this.number,
      dropped,
    });
  }

  postRows(
    batch: BatchFlight,
    table: Uint32Array<ArrayBuffer>,
    first: number,
    row: number,
    count: number,
    leftMs: number,
  ): number {
    const { endpoint } = this;
    const most = Math.min(count, this.flights.slots);
    const posted = endpoint.postMany(table, first, most, wholeMs(leftMs));
    for (let i = 0; i < posted; i++) this.flights.addRow(endpoint.posted[i]!, batch, row + i);
    return posted === 0 && endpoint.posted[0] === STATUS.badRequest ? -1 : posted;
  }

  /** The error for a negative result of `slot`'s call. */
  errorFor(result: number, slot: number, deadlineMs: number): RfaasError {
    switch (result) {
      case STATUS.functionError:
        return functionErrorFrom(this.endpoint.errorRecord(slot));
      case STATUS.deadline:
        return new DeadlineExceeded(deadlineMs);
      case STATUS.workerLost:
        return this.workerLost();
      case STATUS.notBegun:
        return notRun(
          new LeaseLost(
            `the node takes the lease back too soon for the call to end; ${adviceFor(this.owner.losses)}`,
          ),
        );
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

  protected workerLost(): RfaasError {
    if (this.lost) return this.lost;
    if (!this.endpoint.lost()) return workerRestarted(this.number);
    const cause = this.endpoint.ended();
    const [reason, detail] = cause[0] === END.alive ? this.owner.ended() : cause;
    const known = reason === END.alive ? this.owner.disconnected(this.index) : undefined;
    const error =
      (known && numbered(known, this)) ??
      workerLoss(this.number, reason, detail, this.owner.heapBytes);
    this.lose(error);
    return this.lost!;
  }
}

/** The time that is left after queueing, as the endpoint takes it. */
const wholeMs = (leftMs: number): number => (leftMs === Infinity ? 0 : Math.ceil(leftMs));

/** A part's connection knows the number that its worker has there, and a program the one in its lease. */
function numbered(
  error: RfaasError,
  { index, number }: { index: number; number: number },
): RfaasError {
  if (index === number || !(error instanceof ConnectionLost)) return error;
  const message = error.message.replace(`worker ${index} `, `worker ${number} `);
  return new ConnectionLost(number, error, message, { cause: error.cause });
}
