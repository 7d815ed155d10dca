/** A function of a lease with several parts: each call goes to the part with the fewest calls for each of its workers. */
import { LeaseLost, WorkerLost } from "../../base/errors.ts";
import {
  type SubmitOptions,
  type ValueBroadcastOptions,
  checkSubmitOptions,
} from "../options/call-options.ts";
import { mayHaveRun, saysNotRun } from "../failures/fate.ts";
import { noSuchWorker } from "../failures/no-such-worker.ts";
import { isLoss } from "../failures/retry.ts";
import { withinDeadline } from "../calls/deadline.ts";
import { type ManyCalls, broadcastOf, mapOf } from "../map/values.ts";

/** What handles of all kinds have in common. */
export interface Handle extends Disposable, Pick<ManyCalls<never, unknown>, "broadcast"> {
  (value: never, options?: SubmitOptions): Promise<unknown>;
}

/** The handle of one part. */
export interface Lent<Of extends Handle = Handle> {
  /** Which part that is. */
  readonly part: unknown;
  readonly handle: Of;
  readonly workers: number;
  readonly firstWorker: number;
  readonly slots: number;
  /** Whether all of its workers are lost. */
  isOver(): boolean;
}

/** Parts that come in the place of others. */
export interface Joining {
  /** Whether what is lost will be replaced, and whether there is something to replace. */
  readonly open: boolean;
  readonly pending: boolean;
  /** Waits for the next ones, as long as the call may take. Throws why there are none. */
  healed(options: SubmitOptions | undefined): Promise<SubmitOptions | undefined>;
  /** Calls `listener` with a part that has come, if any, and with the one whose place it has, if any. */
  onJoined(listener: (lent: Lent | undefined, instead: unknown) => void): () => void;
}

interface Member<Of extends Handle> extends Lent<Of> {
  calls: number;
  /** No call goes there any more. */
  lost: boolean;
}

export class Members<Of extends Handle> {
  readonly #all: Member<Of>[];
  /** Parts that others have the places of, and a worker of which no part has yet. */
  readonly #vacant = new Set<Member<Of>>();
  readonly #workers: number;
  readonly #joining: Joining | undefined;
  readonly #endJoining: (() => void) | undefined;
  readonly map: ManyCalls<unknown, unknown>["map"];
  #turn = 0;

  constructor(lent: readonly Lent<Of>[], joining?: Joining) {
    this.#joining = joining;
    this.#endJoining = joining?.onJoined((one, instead) =>
      this.#joined(one as Lent<Of> | undefined, instead),
    );
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
    const leftOptions = () => withinDeadline(options, performance.now() - began);
    let ran = false;
    for (let left = options?.retries ?? 0; ;)
      try {
        // Others may come before it.
        while (this.#isGone(options?.worker)) await this.#joining?.healed(leftOptions());
        return await this.#attempt(value, leftOptions());
      } catch (error) {
        const again = isLoss(error) && (options?.idempotent === true || left-- > 0);
        if (!again || !this.#hasOther(options)) throw ran ? mayHaveRun(error) : error;
        ran ||= !saysNotRun(error);
        if (this.#isRefusal(error)) await this.#joining?.healed(leftOptions());
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
    if (this.#joining) {
      const all = broadcastOf(this.call, { workers: this.#workers, firstWorker: 0 });
      return await all(value as never, options);
    }
    const each = this.#all.map(({ handle }) => handle.broadcast(value as never, options));
    return (await Promise.all(each)).flat();
  };

  readonly dispose = (): void => {
    this.#endJoining?.();
    for (const { handle } of [...this.#all, ...this.#vacant]) handle[Symbol.dispose]();
  };

  /** Whether the call must wait for a part that comes. */
  #isGone(worker: number | undefined): boolean {
    if (!this.#joining?.open) return false;
    if (worker === undefined) return this.#all.every((member) => member.isOver());
    return this.#memberOf(worker).isOver();
  }

  /** Whether a call of a lost part can be made elsewhere, or where a part comes in its place. */
  #hasOther(options: SubmitOptions | undefined): boolean {
    if (options?.worker === undefined && this.#all.some(({ lost }) => !lost)) return true;
    return this.#joining?.open === true && options?.idempotent === true;
  }

  /** A part that is about to be taken back has refused the call, and would refuse it again. */
  #isRefusal(error: unknown): boolean {
    return this.#joining?.pending === true && error instanceof LeaseLost && saysNotRun(error);
  }

  /** The views of a struct that was taken of the first stay its program's; other handles give back what they have. */
  #joined(one: Lent<Of> | undefined, instead: unknown): void {
    const at = this.#all.findIndex(({ part }) => part === instead);
    const come = one ? [{ ...one, calls: 0, lost: false }] : [];
    if (at < 0) this.#all.push(...come);
    else for (const former of this.#all.splice(at, 1, ...come)) this.#vacant.add(former);
    for (const former of this.#vacant) {
      const numbers = Array.from({ length: former.workers }, (_, i) => former.firstWorker + i);
      if (!numbers.every((worker) => this.#all.some((member) => hasWorker(member, worker))))
        continue;
      this.#vacant.delete(former);
      if (!("slot" in former.handle)) former.handle[Symbol.dispose]();
    }
  }

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
    const has = (member: Member<Of>): boolean => hasWorker(member, worker);
    const member = this.#all.findLast(has) ?? this.#vacant.values().find(has);
    if (member) return member;
    throw noSuchWorker(worker, 0, this.#workers);
  }
}

const hasWorker = ({ firstWorker, workers }: Lent, worker: number): boolean =>
  worker >= firstWorker && worker < firstWorker + workers;

/** One lost worker is not the loss of its part; the end of a part's lease is. */
function isOver(member: Lent, error: unknown): boolean {
  return error instanceof LeaseLost || (error instanceof WorkerLost && member.isOver());
}
