/**
 * The context of a function's call. The worker makes one object for each slot at start, so a function that does not use it pays
 * nothing. Its properties are read from the request, which the slot holds until the call is answered.
 */
import { ATTEMPT_MASK, ATTEMPT_SHIFT, REPORTED } from "../../../ffi/layout.ts";
import { REQUEST, type WorkerEndpoint } from "../../../ffi/worker-endpoint.ts";
import type {
  FunctionContext,
  FunctionLog,
  Invocation,
  WorkerContext,
} from "../../function/context.ts";
import type { NamedCall } from "../results/kept-results.ts";
import { Progress, type Reporter } from "./reporting.ts";

/** What all calls of a worker share. */
export class WorkerScope implements WorkerContext {
  readonly worker: number;
  readonly workers: number;
  readonly cores: number;
  readonly state = new Map<string, unknown>();
  readonly log: FunctionLog;
  /** Until a call has completed. */
  cold = true;
  /** @internal */
  lease: number;
  /** @internal */
  readonly reporter: Reporter;
  readonly #region: { readonly arena: ArrayBuffer };

  constructor(
    lease: number,
    place: {
      worker: number;
      workers: number;
      cores: number;
      region: { readonly arena: ArrayBuffer };
    },
    reporter: Reporter,
  ) {
    this.lease = lease;
    this.worker = place.worker;
    this.workers = place.workers;
    this.cores = place.cores;
    this.#region = place.region;
    this.reporter = reporter;
    this.log = reporter.log;
  }

  /** The worker replaces a view that a function has transferred. */
  get memory(): ArrayBuffer {
    return this.#region.arena;
  }
}

export class CallContext implements FunctionContext {
  readonly worker: number;
  readonly workers: number;
  readonly cores: number;
  readonly state: Map<string, unknown>;
  readonly log: FunctionLog;
  readonly #scope: WorkerScope;
  readonly #endpoint: WorkerEndpoint;
  readonly #slot: number;
  #known: CallInvocation | undefined;
  #progress: Progress | undefined;

  constructor(scope: WorkerScope, endpoint: WorkerEndpoint, slot: number) {
    this.#scope = scope;
    this.#endpoint = endpoint;
    this.#slot = slot;
    this.worker = scope.worker;
    this.workers = scope.workers;
    this.cores = scope.cores;
    this.state = scope.state;
    this.log = scope.log;
  }

  get memory(): ArrayBuffer {
    return this.#scope.memory;
  }

  get cold(): boolean {
    return this.#scope.cold;
  }

  get invocation(): Invocation {
    return this.#current();
  }

  /** @internal How aborts name it. */
  get call(): NamedCall {
    return { slot: this.#slot, sequence: this.#endpoint.sequence(this.#slot) };
  }

  /** Functions take it out of the context, so it is bound. */
  readonly progress = (fraction: number, message?: string): void => {
    if (!(this.#word(REQUEST.function) & REPORTED)) return;
    const { sequence } = this.#current();
    const bounded = Math.min(1, Math.max(0, Number(fraction) || 0));
    const progress = (this.#progress ??= new Progress());
    if (progress.admits(bounded))
      this.#scope.reporter.progress(this.#slot, sequence, bounded, message, progress.takeDropped());
  };

  /** The caller has aborted the call: its signal aborts. */
  abort(reason: Error): void {
    this.#current().abort(reason);
  }

  /** The call has been answered. */
  ended(): void {
    this.#known?.end();
  }

  /** The next call is of another lease. */
  renew(): void {
    this.ended();
    this.#known = undefined;
    this.#progress = undefined;
  }

  #word(word: number): number {
    return this.#endpoint.requests[this.#slot * this.#endpoint.slotWords + word]!;
  }

  #current(): CallInvocation {
    const sequence = this.#endpoint.sequence(this.#slot);
    if (this.#known?.sequence === sequence) return this.#known;
    this.#progress = undefined;
    const { lease, worker } = this.#scope;
    return (this.#known = new CallInvocation(
      `${lease}.${worker}.${sequence}`,
      sequence,
      ((this.#word(REQUEST.function) & ATTEMPT_MASK) >>> ATTEMPT_SHIFT) + 1,
      this.#endpoint.remainingMs(this.#slot),
    ));
  }
}

class CallInvocation implements Invocation {
  readonly id: string;
  readonly attempt: number;
  readonly deadline: Date | null;
  /** @internal */
  readonly sequence: number;
  #controller: AbortController | undefined;
  #aborted: Error | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ended = false;

  constructor(id: string, sequence: number, attempt: number, remainingMs: number) {
    this.id = id;
    this.sequence = sequence;
    this.attempt = attempt;
    // Not before the deadline has passed: a call that ends at this time has missed it.
    this.deadline = remainingMs < 0 ? null : new Date(Date.now() + remainingMs + 1);
  }

  get signal(): AbortSignal {
    if (this.#controller) return this.#controller.signal;
    this.#controller = new AbortController();
    if (this.#aborted) this.#controller.abort(this.#aborted);
    else if (this.deadline && !this.#ended) this.#awaitDeadline(this.deadline.getTime());
    return this.#controller.signal;
  }

  #awaitDeadline(atMs: number): void {
    const leftMs = atMs - Date.now();
    if (leftMs <= 0) return this.abort(new Error("the call's deadline has passed"));
    // A timer may come a little early.
    this.#timer = setTimeout(() => this.#awaitDeadline(atMs), leftMs);
    this.#timer.unref();
  }

  abort(reason: Error): void {
    if (this.#ended) return;
    this.#aborted ??= reason;
    this.#controller?.abort(this.#aborted);
    this.end();
  }

  end(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
  }
}
