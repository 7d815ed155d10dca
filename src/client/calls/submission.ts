/** Turns names, buffers and options into calls on a worker's lane, and attaches their deadline, signal and retries. */
import { REPORTED } from "../../../ffi/layout.ts";
import { DeadlineExceeded, type LeaseLost, QueueFull } from "../../base/errors.ts";
import { Call } from "./call.ts";
import { NO_OPTIONS, wholeDeadline } from "./deadline.ts";
import type { FunctionTable } from "./function-table.ts";
import type { LeaseBuffer, LeaseMemory } from "../memory/lease-memory.ts";
import { type SubmitOptions, checkSubmitOptions } from "../options/call-options.ts";
import { Picking } from "./picking.ts";
import type { Reactor } from "./reactor.ts";
import type { Losses } from "../failures/advice.ts";
import { mayRunAgain, mayTryAgain } from "../failures/retry.ts";
import { onAbort, reasonOf } from "../../base/waiting.ts";
import type { WorkerLane } from "./worker-lane.ts";

/** Says whether a lease still has time for a call. */
export interface CallTerm {
  /** Whether the node has said when it takes the lease back. */
  readonly endsSoon: boolean;
  /** Why a call that takes `needMs` (0: unknown) cannot be made any more; undefined when it can. */
  refusal(needMs: number): LeaseLost | undefined;
}

/** The parts of a lease that its calls use. */
export interface LeaseCore {
  readonly lanes: readonly WorkerLane[];
  /** Calls in flight per worker. */
  readonly slots: number;
  readonly functions: FunctionTable;
  readonly memory: LeaseMemory;
  readonly reactor: Reactor;
  readonly term: CallTerm;
  readonly losses: Losses;
}

export class Submission {
  readonly core: LeaseCore;
  readonly #picking: Picking;

  constructor(core: LeaseCore) {
    this.core = core;
    this.#picking = new Picking(core.lanes);
  }

  pick(worker: number | undefined): WorkerLane {
    return this.#picking.pick(worker);
  }

  submit(name: string, input: LeaseBuffer, output: LeaseBuffer, options: SubmitOptions): Call {
    if (options !== NO_OPTIONS) checkSubmitOptions(options);
    // A getter of the program's must not throw once the call is in flight.
    const { signal, worker } = options;
    const lane = this.pick(worker);
    const call = this.#refusable(this.#newCall(lane, name, input, output, options));
    if (call.done) return call;
    call.enter();
    try {
      if (lane.submit(call)) call.driver.watch(call);
    } catch (error) {
      call.leave();
      throw error;
    }
    if (options !== NO_OPTIONS) this.#bindEnd(call, signal);
    return call;
  }

  /** Submits a call ahead of the queue, even on a lease that is being revoked. */
  submitFirst(
    name: string,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options: SubmitOptions & { worker: number },
  ): Call {
    const lane = this.pick(options.worker);
    const call = this.#newCall(lane, name, input, output, options);
    if (call.done) return call;
    call.enter();
    lane.submitFirst(call);
    call.driver.watch(call);
    this.#bindEnd(call, options.signal);
    return call;
  }

  trySubmit(
    name: string,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options: SubmitOptions,
  ): Call | null {
    if (options !== NO_OPTIONS) checkSubmitOptions(options);
    // A getter of the program's must not throw once the call is in flight.
    const { signal, worker } = options;
    const lane = this.pick(worker);
    const call = this.#refusable(this.#newCall(lane, name, input, output, options));
    if (call.done) return call;
    call.enter();
    if (!lane.trySubmit(call)) {
      call.leave();
      return null;
    }
    if (options !== NO_OPTIONS) this.#bindEnd(call, signal);
    return call;
  }

  #newCall(
    lane: WorkerLane,
    name: string,
    input: LeaseBuffer,
    output: LeaseBuffer,
    options: SubmitOptions,
  ): Call {
    const { functions, memory } = this.core;
    const reported = options.onProgress === undefined ? 0 : REPORTED;
    const fn = functions.indexOf(name) | reported;
    const deadlineMs = options === NO_OPTIONS ? 0 : wholeDeadline(options.deadlineMs);
    const call = new Call(lane, fn, memory, input, output, deadlineMs);
    if (options !== NO_OPTIONS) this.#apply(call, options);
    return call;
  }

  /** Ends a call that cannot complete before the node takes the lease back. */
  #refusable(call: Call): Call {
    const { term } = this.core;
    if (!term.endsSoon) return call;
    const refused = term.refusal(call.durationMs || call.deadlineMs);
    if (refused) call.end(0, refused);
    return call;
  }

  #apply(call: Call, options: SubmitOptions): void {
    const { durationMs, retries, idempotent = false, timings, signal, onProgress } = options;
    const { details } = call;
    details.onProgress = onProgress;
    details.submittedNs = details.queuedSinceNs = Bun.nanoseconds();
    details.durationMs = durationMs ?? 0;
    const left = retries ?? 0;
    if (left > 0 || idempotent)
      details.retry = (failed, error) =>
        mayTryAgain(failed.attempt, { retries: left, idempotent }, error) &&
        this.#again(failed, error);
    if (timings) details.timings = { queuedNs: 0, movedNs: 0, foundNs: 0, ranNs: 0, returnedNs: 0 };
    if (signal?.aborted) call.end(0, reasonOf(signal));
  }

  /** Submits the call to another worker, after a failure that another attempt may mend. Returns whether it did. */
  #again(call: Call, error: unknown): boolean {
    if (!mayRunAgain(error) || this.core.term.refusal(call.durationMs)) return false;
    const lane = this.#picking.pickAfter(call.worker);
    if (lane === undefined) return false;
    call.details.attempt++;
    call.details.queuedSinceNs = Bun.nanoseconds();
    call.moveTo(lane);
    try {
      if (lane.submit(call)) lane.watch(call);
      return true;
    } catch (full) {
      if (full instanceof QueueFull) return false;
      throw full;
    }
  }

  /** The client's reasons to end a call: its signal and its deadline. */
  #bindEnd(call: Call, signal: AbortSignal | undefined): void {
    const { deadlineMs } = call;
    if (call.done || (deadlineMs === 0 && !signal)) return;
    const abandon = (reason: unknown) => call.driver.abandon(call, reason);
    const timer =
      deadlineMs === 0
        ? undefined
        : setTimeout(() => abandon(new DeadlineExceeded(deadlineMs)), deadlineMs);
    const abort = () => abandon(reasonOf(signal!));
    const endHearing = signal && onAbort(signal, abort);
    const { cleanUp } = call;
    call.cleanUp = () => {
      cleanUp?.();
      clearTimeout(timer);
      endHearing?.();
    };
  }
}
