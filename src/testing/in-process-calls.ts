/** Calls that run where they are made, from {@link testWorker}. */
import { DeadlineExceeded, UsageError } from "../base/errors.ts";
import { Call, type CallDriver, type Flight } from "../client/calls/call.ts";
import { NO_OPTIONS, wholeDeadline } from "../client/calls/deadline.ts";
import type { LeaseMemory } from "../client/memory/lease-memory.ts";
import { notify } from "../base/notify.ts";
import { type SubmitOptions, checkSubmitOptions } from "../client/options/call-options.ts";
import { onAbort, reasonOf } from "../base/waiting.ts";
import { functionErrorFrom } from "../client/failures/remote-error.ts";
import { mayRunAgain } from "../client/failures/retry.ts";
import { toErrorRecord, wrongResult } from "../executor/results/error-record.ts";
import type { NamedCall } from "../executor/results/kept-results.ts";
import type { LoadedModule } from "../executor/modules/loaded-module.ts";
import type { FunctionContext, FunctionLog, LogLevel, WorkerContext } from "../function/context.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Receives what functions log and report. */
export interface Listener {
  log(level: LogLevel, message: string, data: unknown): void;
  progress(fraction: number, message: string | undefined): void;
}

/** What all calls of the worker share, from one start to the next. */
export interface Scope extends WorkerContext {
  cold: boolean;
}

export class InProcessCalls {
  scope!: Scope;
  readonly #loaded: LoadedModule;
  readonly #place: Pick<WorkerContext, "worker" | "workers" | "cores" | "memory">;
  readonly #memory: LeaseMemory;
  readonly #listener: Listener;
  readonly #running = new Set<Call>();
  /** Drives calls without a worker: only the event loop can complete them. */
  readonly #driver: CallDriver = {
    number: 0,
    drive() {
      throw new UsageError(
        "an asynchronous function cannot be waited for on the spot in a test; await the call",
      );
    },
    watch() {},
    holds: (call) => this.holds(call as Call),
    abandon(call: Flight, reason: unknown) {
      call.end(0, reason);
    },
  };
  #calls = 0;

  constructor(
    loaded: LoadedModule,
    place: Pick<WorkerContext, "worker" | "workers" | "cores" | "memory">,
    memory: LeaseMemory,
    listener: Listener,
  ) {
    this.#memory = memory;
    this.#loaded = loaded;
    this.#place = place;
    this.#listener = listener;
  }

  /** Functions that have not returned, abandoned or not. */
  get running(): number {
    return this.#running.size;
  }

  startScope(): void {
    const writer = (level: LogLevel) => (message: string, data?: unknown) =>
      this.#listener.log(level, message, data);
    const log: FunctionLog = {
      debug: writer("debug"),
      info: writer("info"),
      warn: writer("warn"),
      error: writer("error"),
    };
    this.scope = { ...this.#place, state: new Map(), log, cold: true };
  }

  /** Whether the function may still use the call's buffers. */
  holds(call: Call): boolean {
    return this.#running.has(call);
  }

  /** Runs the function at once, up to its first `await`; the event loop runs the rest. */
  submit(
    name: string,
    index: number,
    input: Bytes,
    output: Bytes,
    options: SubmitOptions = NO_OPTIONS,
  ): Call {
    if (options !== NO_OPTIONS) checkSubmitOptions(options);
    const deadlineMs = wholeDeadline(options.deadlineMs);
    const call = new Call(this.#driver, index, this.#memory, input, output, deadlineMs);
    call.details.submittedNs = Bun.nanoseconds();
    const number = ++this.#calls;
    const named = { slot: number, sequence: number };
    const left = options.retries ?? 0;
    call.details.retry = (failed, error) => {
      if (failed.attempt >= left || !mayRunAgain(error)) return false;
      failed.details.attempt++;
      void this.#run(call, named, name, index, input, output, options, given.signal);
      return true;
    };
    const given = new AbortController();
    const abandon = (reason: unknown): void => {
      given.abort(reason);
      if (this.#running.has(call)) call.abandoned = named;
      this.#loaded.kept?.abandon(named.slot, named.sequence);
      call.end(0, reason);
    };
    const timer =
      deadlineMs > 0
        ? setTimeout(() => abandon(new DeadlineExceeded(deadlineMs)), deadlineMs)
        : undefined;
    const { signal } = options;
    const abort = (): void => abandon(reasonOf(signal!));
    const endHearing = signal && onAbort(signal, abort);
    call.cleanUp = () => {
      clearTimeout(timer);
      endHearing?.();
    };
    call.enter();
    if (signal?.aborted) abort();
    else void this.#run(call, named, name, index, input, output, options, given.signal);
    return call;
  }

  async #run(
    call: Call,
    named: NamedCall,
    name: string,
    index: number,
    input: Bytes,
    output: Bytes,
    options: SubmitOptions,
    signal: AbortSignal,
  ): Promise<void> {
    const context = this.#contextOf(call, named, options, signal);
    const late = (): void => {
      this.#loaded.kept?.abandon(named.slot, named.sequence);
      call.end(0, new DeadlineExceeded(call.deadlineMs));
    };
    this.#running.add(call);
    let length: unknown;
    try {
      // As in a worker, what the function is handed may end with the call.
      const handed = input.slice();
      const result: unknown = this.#loaded.functions[index]!(handed, output, context);
      length =
        typeof result === "object" && result !== null
          ? await (result as PromiseLike<unknown>)
          : result;
      if (!(
        Number.isInteger(length) &&
        (length as number) >= 0 &&
        (length as number) <= output.length
      ))
        throw wrongResult(name, output.length, length);
    } catch (error) {
      this.#running.delete(call);
      if (call.remainingMs() <= 0) return late();
      const record = new TextEncoder().encode(JSON.stringify(toErrorRecord(error)));
      return call.endAttempt(0, functionErrorFrom(record));
    }
    this.#running.delete(call);
    this.scope.cold = false;
    // As a worker does: a result after the deadline is late, even if the timer has not fired yet.
    if (call.remainingMs() <= 0) late();
    else call.endAttempt(length as number);
  }

  #contextOf(
    call: Call,
    named: NamedCall,
    { onProgress }: SubmitOptions,
    signal: AbortSignal,
  ): FunctionContext & { call: NamedCall } {
    const { scope } = this;
    const { deadlineMs } = call;
    const invocation = {
      id: `test.${scope.worker}.${named.sequence}`,
      attempt: call.attempt + 1,
      deadline: deadlineMs > 0 ? new Date(Date.now() + Math.ceil(call.remainingMs()) + 1) : null,
      signal,
    };
    return {
      ...scope,
      invocation,
      call: named,
      progress: (fraction, message) => {
        const bounded = Math.min(1, Math.max(0, Number(fraction) || 0));
        this.#listener.progress(bounded, message);
        if (onProgress)
          notify(onProgress, { fraction: bounded, message, worker: scope.worker, dropped: 0 });
      },
    };
  }
}
