/** A function of a lease with several parts: each call goes to the part with the fewest calls for each of its workers. */
import { DeadlineExceeded, LeaseLost, WorkerLost } from "../../base/errors.ts";
import {
  type SubmitOptions,
  type ValueBroadcastOptions,
  checkSubmitOptions,
} from "../options/call-options.ts";
import { mayHaveRun, saysNotRun } from "../failures/fate.ts";
import { noSuchWorker } from "../failures/no-such-worker.ts";
import { type ManyCalls, mapOf } from "../map/values.ts";

/** What handles of all kinds have in common. */
export interface Handle extends Disposable, Pick<ManyCalls<never, unknown>, "broadcast"> {
  (value: never, options?: SubmitOptions): Promise<unknown>;
}

/** The handle of one part. */
export interface Lent<Of extends Handle = Handle> {
  readonly handle: Of;
  readonly workers: number;
  readonly firstWorker: number;
  readonly slots: number;
  /** Whether all of its workers are lost. */
  isOver(): boolean;
}

interface Member<Of extends Handle> extends Lent<Of> {
  calls: number;
  /** No call goes there any more. */
  lost: boolean;
}

export class Members<Of extends Handle> {
  readonly #all: readonly Member<Of>[];
  readonly #workers: number;
  readonly map: ManyCalls<unknown, unknown>["map"];
  #turn = 0;

  constructor(lent: readonly Lent<Of>[]) {
    this.#all = lent.map((one) => ({ ...one, calls: 0, lost: false }));
    this.#workers = lent.reduce((sum, { workers }) => sum + workers, 0);
    this.map = mapOf(this.call, {
      workers: this.#workers,
      slots: Math.min(...lent.map(({ slots }) => slots)),
    });
  }

  get first(): Of {
    return this.#all[0]!.handle;
  }

  /** The handle of the part whose turn it is. */
  next(): Of {
    return this.#next().handle;
  }

  /** A part retries its own calls; the other parts take over the calls of a lost part, except those that name a worker of it. */
  readonly call = async (value: unknown, options?: SubmitOptions): Promise<unknown> => {
    if (options !== undefined) checkSubmitOptions(options);
    const began = performance.now();
    let ran = false;
    for (let left = options?.retries ?? 0; ; left--)
      try {
        return await this.#attempt(value, withinDeadline(options, performance.now() - began));
      } catch (error) {
        const elsewhere = options?.worker === undefined && this.#all.some(({ lost }) => !lost);
        if (left <= 0 || !isLoss(error) || !elsewhere) throw ran ? mayHaveRun(error) : error;
        ran ||= !saysNotRun(error);
      }
  };

  /** Makes a call on the spot, once: of a worker, or of the part whose turn it is. */
  invoke<Result>(call: (handle: Of) => Result, worker: number | undefined): Result {
    const member = this.#next(worker);
    try {
      return call(member.handle);
    } catch (error) {
      member.lost ||= isOver(member, error);
      throw error;
    }
  }

  readonly broadcast = async (
    value: unknown,
    options?: ValueBroadcastOptions,
  ): Promise<PromiseSettledResult<unknown>[]> => {
    const each = this.#all.map(({ handle }) => handle.broadcast(value as never, options));
    return (await Promise.all(each)).flat();
  };

  readonly dispose = (): void => this.#all.forEach(({ handle }) => handle[Symbol.dispose]());

  async #attempt(value: unknown, options: SubmitOptions | undefined): Promise<unknown> {
    const member = this.#next(options?.worker);
    member.calls++;
    try {
      return await member.handle(value as never, options);
    } catch (error) {
      member.lost ||= isOver(member, error);
      throw error;
    } finally {
      member.calls--;
    }
  }

  #next(worker?: number): Member<Of> {
    if (worker !== undefined) return this.#memberOf(worker);
    const there = this.#all.filter(({ lost }) => !lost);
    // When all parts are lost, the first reports the loss.
    if (there.length === 0) return this.#all[0]!;
    this.#turn++;
    let best = there[this.#turn % there.length]!;
    for (const member of there)
      if (member.calls / member.workers < best.calls / best.workers) best = member;
    return best;
  }

  #memberOf(worker: number): Member<Of> {
    const member = this.#all.find(
      ({ firstWorker, workers }) => worker >= firstWorker && worker < firstWorker + workers,
    );
    if (member) return member;
    throw noSuchWorker(worker, 0, this.#workers);
  }
}

/** One lost worker is not the loss of its part; the end of a part's lease is. */
function isOver(member: Lent, error: unknown): boolean {
  return error instanceof LeaseLost || (error instanceof WorkerLost && member.isOver());
}

function isLoss(error: unknown): boolean {
  return error instanceof WorkerLost || error instanceof LeaseLost;
}

/** A deadline covers all attempts. */
function withinDeadline(
  options: SubmitOptions | undefined,
  passedMs: number,
): SubmitOptions | undefined {
  if (options?.deadlineMs === undefined) return options;
  const leftMs = options.deadlineMs - passedMs;
  if (leftMs <= 0) throw new DeadlineExceeded(options.deadlineMs);
  return { ...options, deadlineMs: leftMs };
}
