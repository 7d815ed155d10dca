/**
 * Many calls in one object: a call is a row of a table, and allocates nothing. Rows are given to workers in order, to each as many
 * as it has slots for, and to none more than its share of what is left.
 */
import { POSTING_WORDS } from "../../../ffi/client-endpoint.ts";
import { STATUS, attemptBits } from "../../../ffi/layout.ts";
import { DeadlineExceeded, RfaasError } from "../../base/errors.ts";
import { onAbort, reasonOf } from "../../base/waiting.ts";
import type { BatchFlight, BatchLane } from "../calls/batch-flight.ts";
import type { Posted } from "../calls/call.ts";
import { tooLong, wholeDeadline } from "../calls/deadline.ts";
import type { LeaseCore } from "../calls/submission.ts";
import { mayHaveRun, notRun, saysNotRun } from "../failures/fate.ts";
import { mayTryAgain } from "../failures/retry.ts";
import type { SubmitManyOptions } from "../options/call-options.ts";
import { type Bytes, PromisedBatch } from "./promised-batch.ts";
import type { CallFailure } from "./public-batch.ts";
import type { BatchTable } from "./table.ts";

/** A sweep that ends at the first call without an answer: what is behind it is met next time. */
const NEXT = 1;
/** How long a blocking wait looks at one worker alone: with others, theirs run dry meanwhile. */
const ALONE_MS = 20;
const AMONG_OTHERS_MS = 1;
/** How often a batch looks again where only abandoned calls hold the slots. */
const STUCK_RING_POLL_MS = 1;
/** A worker gets more rows when so much of its ring is free: one at a time, each would cost a call of the shim. */
const FREE_SHARE = 8;

/** A row for another attempt, and where the last one failed. */
interface Again {
  row: number;
  failedOn: number;
}

/** What a batch needs of its lease. */
export type BatchHome = Pick<LeaseCore, "memory" | "reactor" | "term">;

export class Batch extends PromisedBatch implements BatchFlight {
  readonly deadlineMs: number;
  readonly #home: BatchHome;
  readonly #table: BatchTable;
  readonly #lanes: readonly BatchLane[];
  readonly #durationMs: number;
  readonly #repeats: { readonly retries: number; readonly idempotent: boolean };
  readonly #bytes: Bytes;
  readonly #failures: CallFailure[] = [];
  #sorted = true;
  /** Attempts that have failed, by row. */
  readonly #attempts: Uint16Array | undefined;
  /** Of which an attempt may have run. */
  readonly #ran: Uint8Array | undefined;
  readonly #again: Again[] = [];
  /** One row with its number of attempts. */
  #single: Uint32Array<ArrayBuffer> | undefined;
  /** The first row that was never posted. */
  #next = 0;
  /** Rows that have not ended. */
  #left: number;
  #submittedNs = 0;
  #watched = false;
  #enlisted = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #endHearing: (() => void) | undefined;
  #promise: PromiseWithResolvers<Bytes> | undefined;

  /** `lanes` are those of the workers that may get its calls. */
  constructor(
    home: BatchHome,
    table: BatchTable,
    lanes: readonly BatchLane[],
    options: SubmitManyOptions,
  ) {
    const { durationMs = 0, retries = 0, idempotent = false, settled = false } = options;
    super(settled);
    this.#home = home;
    this.#table = table;
    this.#lanes = lanes;
    this.deadlineMs = wholeDeadline(options.deadlineMs);
    this.#durationMs = durationMs;
    this.#repeats = { retries, idempotent };
    this.#bytes = new Int32Array(new ArrayBuffer(4 * table.size));
    this.#attempts = retries > 0 || idempotent ? new Uint16Array(table.size) : undefined;
    this.#ran = this.#attempts && new Uint8Array(table.size);
    this.#left = table.size;
  }

  get size(): number {
    return this.#table.size;
  }

  get ended(): number {
    return this.size - this.#left;
  }

  get done(): boolean {
    return this.#left === 0;
  }

  get failures(): readonly CallFailure[] {
    if (!this.#sorted) this.#failures.sort((a, b) => a.index - b.index);
    this.#sorted = true;
    return this.#failures;
  }

  /** Posts what has a slot. The rest is posted as slots come free. */
  begin(signal: AbortSignal | undefined): void {
    if (this.done) return;
    if (this.deadlineMs > 0 || this.#durationMs > 0) this.#submittedNs = Bun.nanoseconds();
    if (this.#table.copies)
      for (const [row, { input }] of this.#table.uses.entries())
        input.bring(this.#table.inputs[row]!);
    this.#home.memory.hold(this.#table.places);
    for (const lane of this.#lanes) this.fill(lane, true);
    if (this.done) return;
    if (this.#waits) {
      this.#enlist();
      this.#watch();
    }
    if (this.deadlineMs > 0) this.#timer = setTimeout(() => this.expire(), this.deadlineMs);
    if (signal) this.#endHearing = onAbort(signal, () => this.#abandon(reasonOf(signal)));
  }

  /** Ends all of its calls before one is made. */
  refuse(error: unknown): void {
    if (this.done) return;
    this.#home.memory.hold(this.#table.places);
    this.#failWaiting(error);
  }

  get(): Bytes {
    while (!this.done) if (this.look() === 0) this.block(this.#lanes.length > 1);
    return this.outcome();
  }

  /** Takes the answers that have come. Returns how many. */
  look(): number {
    let ended = 0;
    for (const lane of this.#lanes) ended += lane.harvest(NEXT);
    return ended;
  }

  /** Waits on the spot for some; only briefly where other workers may have some. */
  block(amongOthers: boolean): void {
    if (this.done) return;
    const busiest = this.#lanes.reduce((best, lane) => (lane.load > best.load ? lane : best));
    const before = this.#left;
    if (busiest.free < busiest.slots) busiest.awaitHalf(amongOthers ? AMONG_OTHERS_MS : ALONE_MS);
    else Bun.sleepSync(STUCK_RING_POLL_MS);
    // No timer fires meanwhile.
    if (this.#left === before) for (const lane of this.#lanes) lane.heed();
    if (this.remainingMs() <= 0) this.expire();
  }

  /** What {@link get} returns or throws, of a batch that is done. */
  outcome(): Bytes {
    this.#home.reactor.rouse();
    this.throwFirst();
    return this.#bytes;
  }

  // ---- for the lanes ----

  remainingMs(): number {
    return this.deadlineMs === 0 ? Infinity : this.deadlineMs - this.#elapsedMs();
  }

  fill(lane: BatchLane, eagerly: boolean): void {
    if (!this.#waits) return;
    const leftMs = this.remainingMs();
    if (leftMs <= 0) return this.expire();
    if (leftMs < this.#durationMs)
      return this.#failWaiting(tooLong(this.#durationMs, leftMs, this.deadlineMs));
    if (lane.lost !== undefined) return this.#endIfLost();
    if (this.#again.length > 0) this.#postAgain(lane, leftMs);
    const { free, slots } = lane;
    if (!eagerly && free * FREE_SHARE < slots) return;
    for (let wanted = this.#shareOf(lane); wanted > 0;) {
      const first = this.#next;
      const posted = lane.postRows(this, this.#table.words, first, first, wanted, leftMs);
      this.#next += Math.abs(posted);
      if (posted >= 0) break;
      this.failed(first, lane.errorFor(STATUS.badRequest, -1, 0), lane);
      wanted--;
    }
    if (!this.#waits) this.#dismiss();
  }

  landed(row: number, bytes: number): void {
    if (this.#table.copies) {
      const error = this.#fetch(row, bytes);
      if (error !== undefined) return this.#fail(row, error);
    }
    this.#bytes[row] = bytes;
    if (--this.#left === 0) this.#finish();
  }

  failed(row: number, error: unknown, { index }: Pick<BatchLane, "index">): void {
    if (this.#mayTryAgain(row, error)) {
      this.#attempts![row]!++;
      this.#ran![row] ||= Number(!saysNotRun(error));
      this.#again.push({ row, failedOn: index });
      this.#enlist();
      this.#watch();
      this.#home.reactor.rouse();
    } else this.#fail(row, this.#ran?.[row] ? mayHaveRun(error) : error);
  }

  abandoned(row: number, abandoned: Posted, reason: unknown, lane: BatchLane): void {
    this.#home.memory.leave(this.#table.uses[row]!, () => lane.holds({ abandoned }));
    this.#fail(row, reason);
  }

  expire(): void {
    this.#abandon(new DeadlineExceeded(this.deadlineMs));
  }

  // ---- posting ----

  /** Whether rows wait for a slot. */
  get #waits(): boolean {
    return this.#next < this.size || this.#again.length > 0;
  }

  /** How many of the rows that wait the worker gets, so that all workers have equally many calls. */
  #shareOf(lane: BatchLane): number {
    const waiting = this.size - this.#next;
    if (this.#lanes.length === 1) return Math.min(waiting, lane.free);
    let all = waiting;
    let workers = 0;
    for (const { lost, load } of this.#lanes)
      if (lost === undefined) {
        all += load;
        workers++;
      }
    return Math.min(waiting, lane.free, Math.ceil(all / workers) - lane.load);
  }

  /** Rows that failed elsewhere come first; those that failed here only where no other worker is left. */
  #postAgain(lane: BatchLane, leftMs: number): void {
    const isOnly = this.#lanes.every(
      ({ lost, index }) => lost !== undefined || index === lane.index,
    );
    for (let i = 0; i < this.#again.length;) {
      const { row, failedOn } = this.#again[i]!;
      if (failedOn === lane.index && !isOnly) {
        i++;
        continue;
      }
      const posted = lane.postRows(this, this.#rowAgain(row), 0, row, 1, leftMs);
      if (posted === 0) return;
      this.#again.splice(i, 1);
      if (posted < 0) this.#fail(row, lane.errorFor(STATUS.badRequest, -1, 0));
    }
  }

  #rowAgain(row: number): Uint32Array<ArrayBuffer> {
    const single = (this.#single ??= new Uint32Array(new ArrayBuffer(4 * POSTING_WORDS)));
    const at = POSTING_WORDS * row;
    single.set(this.#table.words.subarray(at, at + POSTING_WORDS));
    single[0]! |= attemptBits(this.#attempts![row]!);
    return single;
  }

  #mayTryAgain(row: number, error: unknown): boolean {
    const attempts = this.#attempts;
    return (
      attempts !== undefined &&
      mayTryAgain(attempts[row]!, this.#repeats, error) &&
      !this.#home.term.refusal(this.#durationMs) &&
      this.#lanes.some(({ lost }) => lost === undefined)
    );
  }

  #enlist(): void {
    if (this.#enlisted) return;
    this.#enlisted = true;
    for (const lane of this.#lanes) lane.enlist(this);
  }

  #dismiss(): void {
    if (!this.#enlisted) return;
    this.#enlisted = false;
    for (const lane of this.#lanes) lane.dismiss(this);
  }

  // ---- waiting ----

  /** Has the event loop look for answers until all calls have ended. */
  #watch(): void {
    if (this.#watched) return;
    this.#watched = true;
    this.#home.reactor.follow();
  }

  protected asPromise(): Promise<Bytes> {
    if (this.#promise) return this.#promise.promise;
    const promise = (this.#promise = Promise.withResolvers());
    if (this.done) this.#resolve();
    else this.#watch();
    return promise.promise;
  }

  // ---- ends ----

  #fail(row: number, error: unknown): void {
    const last = this.#failures.at(-1);
    if (last !== undefined && last.index > row) this.#sorted = false;
    this.#failures.push({ index: row, error });
    this.#bytes[row] = -1;
    if (--this.#left === 0) this.#finish();
  }

  /** Ends the rows that have no slot. */
  #failWaiting(error: unknown): void {
    this.#dismiss();
    const again = this.#again.splice(0);
    const first = this.#next;
    this.#next = this.size;
    const unposted = error instanceof RfaasError ? notRun(error) : error;
    for (const { row } of again) this.#fail(row, this.#ran![row] ? mayHaveRun(error) : unposted);
    if (first === this.size) return;
    for (let row = first; row < this.size; row++) this.#fail(row, unposted);
  }

  #endIfLost(): void {
    if (this.#lanes.some(({ lost }) => lost === undefined)) return;
    this.#failWaiting(this.#lanes[0]!.lost);
  }

  #abandon(reason: unknown): void {
    if (this.done) return;
    this.#failWaiting(reason);
    for (const lane of this.#lanes) lane.abandonRows(this, reason);
  }

  /** Copies a result to memory of the program's own. Returns why that cannot be done. */
  #fetch(row: number, bytes: number): unknown {
    try {
      this.#table.uses[row]!.output.fetch(this.#table.outputs[row]!, bytes);
      return undefined;
    } catch (error) {
      return error;
    }
  }

  #finish(): void {
    this.#dismiss();
    clearTimeout(this.#timer);
    this.#endHearing?.();
    this.#home.memory.letGo(this.#table.places);
    if (this.#watched) this.#home.reactor.rest();
    if (this.#promise) this.#resolve();
  }

  #resolve(): void {
    const { resolve, reject } = this.#promise!;
    try {
      resolve(this.outcome());
    } catch (error) {
      reject(error);
    }
  }

  #elapsedMs(): number {
    return (Bun.nanoseconds() - this.#submittedNs) / 1e6;
  }
}
