/**
 * Many calls of a lease of several parts, or of one that replaces what it loses: rows for which there is no worker wait for one there, and those
 * that may run again do so when theirs is lost.
 */
import { LeaseLost, UsageError } from "../../base/errors.ts";
import { requirePairs } from "../batches/batches.ts";
import { type BatchMember, JoinedBatch } from "../batches/joined-batch.ts";
import { type Bytes, PromisedBatch } from "../batches/promised-batch.ts";
import type { CallBatch, CallFailure } from "../batches/public-batch.ts";
import { withinDeadline } from "../calls/deadline.ts";
import { mayHaveRun, saysNotRun } from "../failures/fate.ts";
import { isLoss } from "../failures/retry.ts";
import type { LeaseBuffer } from "../memory/lease-memory.ts";
import { type SubmitManyOptions, checkSubmitManyOptions } from "../options/call-options.ts";
import { type Healing, isGone } from "./healing.ts";
import type { NameOf } from "./lease.ts";
import type { PartLease } from "./part.ts";
import type { Routing } from "./routing.ts";

/** As `lease.submitMany`. */
export function beginMany<Module>(
  routing: Routing<PartLease<Module>>,
  healing: Healing<Module> | undefined,
  name: NameOf<Module>,
  inputs: readonly LeaseBuffer[],
  outputs: readonly LeaseBuffer[],
  options: SubmitManyOptions | undefined,
): CallBatch {
  requirePairs(inputs, outputs);
  if (options) checkSubmitManyOptions(options);
  // Getters of the program's must not throw once calls are in flight, and what it does to its arrays then is nothing to the calls.
  const given = { ...options };
  const [allInputs, allOutputs] = healing ? [[...inputs], [...outputs]] : [inputs, outputs];
  const all = [...allInputs.keys()];
  const begin: BeginRows = (rows, left) => {
    const of = (buffers: readonly LeaseBuffer[], its: readonly number[]) =>
      its === all ? buffers : its.map((row) => buffers[row]!);
    const groups = routing
      .routeMany(of(allInputs, rows), of(allOutputs, rows), left.worker)
      .map(({ part, rows: places }) => ({ part, rows: places.map((place) => rows[place]!) }));
    const isWaiting = healing && ((part: PartLease<Module>) => isGone(part, left.worker));
    const prepared = groups
      .filter(({ part }) => !isWaiting?.(part))
      .map(({ part, rows: its }) => ({
        begin: part.prepareMany(name, of(allInputs, its), of(allOutputs, its), left, its),
        rows: its,
      }));
    return {
      members: prepared.map(({ begin, rows: its }) => ({ batch: begin(), rows: its })),
      waiting: groups.flatMap(({ part, rows: its }) => (isWaiting?.(part) ? its : [])),
    };
  };
  const { settled = false, idempotent = false } = given;
  const begun = begin(all, { ...given, settled: true });
  if (healing === undefined || (!idempotent && begun.waiting.length === 0))
    return new JoinedBatch(begun.members, settled);
  return new HealedBatch(allInputs.length, begun, begin, healing, given);
}

/** What became of rows: those of batches that have begun, and those that no worker can have yet. */
interface Begun {
  readonly members: readonly BatchMember[];
  readonly waiting: readonly number[];
}

/** Begins rows; throws what is wrong with them, and none has begun then. Batches do not throw what their rows fail with. */
type BeginRows = (rows: readonly number[], options: SubmitManyOptions) => Begun;

class HealedBatch extends PromisedBatch {
  readonly size: number;
  readonly #begin: BeginRows;
  readonly #healing: Pick<Healing, "healed" | "open" | "pending">;
  readonly #options: SubmitManyOptions;
  readonly #beganMs = performance.now();
  readonly #bytes: Bytes;
  /** Of which an attempt may have run. */
  readonly #ran: Uint8Array;
  readonly #failures: CallFailure[] = [];
  readonly #flying = new Set<BatchMember>();
  readonly #promise = Promise.withResolvers<Bytes>();
  #left: number;

  /** `begun` is what has become of all of its rows. */
  constructor(
    size: number,
    begun: Begun,
    begin: BeginRows,
    healing: Pick<Healing, "healed" | "open" | "pending">,
    options: SubmitManyOptions,
  ) {
    super(options.settled ?? false);
    this.size = this.#left = size;
    this.#begin = begin;
    this.#healing = healing;
    this.#options = options;
    this.#bytes = new Int32Array(new ArrayBuffer(4 * size));
    this.#ran = new Uint8Array(size);
    // As any batch, it runs whether its program waits for it or not.
    this.#promise.promise.catch(() => {});
    this.#follow(begun);
    if (size === 0) this.#finish();
  }

  get ended(): number {
    return this.size - this.#left;
  }

  get done(): boolean {
    return this.#left === 0;
  }

  get failures(): readonly CallFailure[] {
    return this.#failures.toSorted((a, b) => a.index - b.index);
  }

  get(): Bytes {
    while (!this.done) {
      const [first] = this.#flying;
      if (first === undefined)
        throw new UsageError(
          "calls of the batch wait for workers that take the place of lost ones, which needs the event loop; await it",
        );
      const flying = [...this.#flying];
      const ended = flying.reduce((sum, { batch }) => sum + batch.look(), 0);
      if (ended === 0) first.batch.block(true);
      for (const member of flying) if (member.batch.done) this.#landed(member);
    }
    return this.#outcome();
  }

  protected asPromise(): Promise<Bytes> {
    return this.#promise.promise;
  }

  #follow({ members, waiting }: Begun): void {
    for (const member of members) {
      this.#flying.add(member);
      void member.batch.then(() => this.#landed(member));
    }
    if (waiting.length > 0) void this.#await(waiting);
  }

  /** A batch has ended: some of its rows may run again. */
  #landed(member: BatchMember): void {
    if (!this.#flying.delete(member)) return;
    const { batch, rows } = member;
    const failed = new Map(batch.failures.map(({ index, error }) => [index, error]));
    const bytes = batch.outcome();
    const again: number[] = [];
    let refused = false;
    for (const [at, row] of rows.entries()) {
      const error = failed.get(at);
      if (error === undefined && !failed.has(at)) this.#land(row, bytes[at]!);
      else if (!this.#mayRunAgain(error)) this.#fail(row, error);
      else {
        this.#ran[row] ||= Number(!saysNotRun(error));
        // A part that is about to be taken back has refused it, and would refuse it again.
        refused ||= error instanceof LeaseLost && saysNotRun(error);
        again.push(row);
      }
    }
    if (again.length === 0) return;
    if (this.#healing.pending && refused) void this.#await(again);
    else this.#again(again);
  }

  #mayRunAgain(error: unknown): boolean {
    return this.#options.idempotent === true && isLoss(error) && this.#healing.open;
  }

  async #await(rows: readonly number[]): Promise<void> {
    try {
      await this.#healing.healed(this.#leftOptions());
    } catch (error) {
      return rows.forEach((row) => this.#fail(row, error));
    }
    this.#again(rows);
  }

  #again(rows: readonly number[]): void {
    try {
      this.#follow(this.#begin(rows, this.#leftOptions()));
    } catch (error) {
      for (const row of rows) this.#fail(row, error);
    }
  }

  /** A deadline covers all attempts. Throws {@link DeadlineExceeded}. */
  #leftOptions(): SubmitManyOptions {
    const left = withinDeadline(this.#options, performance.now() - this.#beganMs);
    return { ...left, settled: true };
  }

  #land(row: number, bytes: number): void {
    this.#bytes[row] = bytes;
    if (--this.#left === 0) this.#finish();
  }

  #fail(row: number, error: unknown): void {
    this.#failures.push({ index: row, error: this.#ran[row] ? mayHaveRun(error) : error });
    this.#land(row, -1);
  }

  #finish(): void {
    const { resolve, reject } = this.#promise;
    try {
      resolve(this.#outcome());
    } catch (error) {
      reject(error);
    }
  }

  #outcome(): Bytes {
    this.throwFirst();
    return this.#bytes;
  }
}
