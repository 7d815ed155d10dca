/** What a function knows about where it runs and who called it. Types only. */

/** How serious a line of the log is. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Writes lines that reach the caller (`onLog`, `lease.on("log")`) and the node's log. `data` travels as JSON. */
export type FunctionLog = Readonly<Record<LogLevel, (message: string, data?: unknown) => void>>;

/** One call of a function. */
export interface Invocation {
  /** Names the call among all calls of the lease: `"lease.worker.sequence"`. */
  readonly id: string;
  /** 1 for the first try; 16 stands for itself and all later ones. */
  readonly attempt: number;
  /** When the caller stops waiting: a later result or error is dropped. Null when the caller set no deadline. */
  readonly deadline: Date | null;
  /**
   * Aborts when the caller aborts the call or the deadline passes. An asynchronous function sees it at its next `await`; one that
   * computes without a pause cannot.
   */
  readonly signal: AbortSignal;
}

/** Where a worker runs, and what it keeps: what hooks and functions are both told. */
export interface WorkerContext {
  /** Which of the lease's workers this is, from 0. */
  readonly worker: number;
  /** How many workers the lease has. */
  readonly workers: number;
  /**
   * How many cores this worker has, 1 unless the lease asked for `coresPerWorker`. What it starts, threads and processes, runs on
   * these.
   */
  readonly cores: number;
  /** The lease's memory on this node. A caller's `RemoteRegion` lies at its `offset`. */
  readonly memory: ArrayBuffer;
  /**
   * What this worker keeps between the calls of its lease, and for the next lease where that has `keepWarmMs`. Other workers have maps
   * of their own, and a worker that was restarted begins with an empty one.
   */
  readonly state: Map<string, unknown>;
  readonly log: FunctionLog;
}

/** What a function is told of its call. Read `invocation` before the call has ended: the object is used for later calls too. */
export interface FunctionContext extends WorkerContext {
  readonly invocation: Invocation;
  /**
   * Whether this worker has not yet completed a call: nothing can be in `state` but what `init` has put there. It is false from the
   * first call on where the worker was kept for this lease (`keepWarmMs`).
   */
  readonly cold: boolean;
  /** Reports progress to a caller that passed `onProgress`: `fraction` from 0 to 1. Sends nothing to other callers. */
  progress(fraction: number, message?: string): void;
}
