/** What a host's main thread and its worker threads tell each other: plain objects over `postMessage`. */
import type { ErrorRecord } from "../../protocol/failed.ts";
import type { Resume } from "../../protocol/host-messages.ts";
import type { Exports } from "../../protocol/module-report.ts";
import type { Freedoms, Rule } from "../results/denied.ts";
import type { Report } from "./reporting.ts";

/** The caller no longer waits for this call. An asynchronous function is told so. */
export interface AbortCall {
  slot: number;
  sequence: number;
  /** By its caller's wish; else by its deadline. */
  gently: boolean;
}

/** Main thread to worker, after {@link AttachWorker}. */
export type WorkerOrder =
  | AbortCall
  /** Stop as soon as no call is pending; queued calls are for another thread. */
  | { leave: true }
  | StopOrder
  | NextOrder;

/**
 * What to do when the loop has been stopped: rest until another lease comes, or end. The latter also to a worker at rest. After a
 * rehearsal: wait for a module, as if it had loaded none.
 */
export interface StopOrder {
  stopped: "rest" | "end" | "wait";
}

/** To a worker at rest, once all of its host's rest: the next lease's memory is there, and the socket will say when to resume. */
export interface NextOrder {
  /** As {@link AttachWorker.watchFd}. */
  next: { watchFd: number };
}

/** What a loop that has ended waits for. */
export type LoopOrder = StopOrder | NextOrder | { resume: Resume };

/** Main thread to worker, first: load this module. */
export interface LoadOrder {
  path: string;
  /** What its author calls the module. */
  name: string;
  /** How many cores the thread is said to have. */
  cores: number;
  /** It may be asked to rest, and then what the module has left behind. */
  keepWarm: boolean;
  /** What its functions may do, where it is in a room. */
  room: Freedoms | undefined;
}

/** Main thread to worker, second: run this lease's calls. */
export interface AttachWorker {
  /** The native endpoint, owned by the main thread. */
  handle: number;
  /** The native region, likewise. */
  region: number;
  slots: number;
  hot: boolean;
  lease: number;
  worker: number;
  workers: number;
  /** What the lease was granted for, when this thread replaces another: its module must have the same functions. */
  granted: Exports | null;
  /** The socket that wakes this worker's event loop; the worker closes it. */
  watchFd: number;
}

/** All that the main thread tells a worker. */
export type HostOrder = LoadOrder | AttachWorker | WorkerOrder;

/** Worker to main thread. */
export type WorkerReport =
  /** It waits for a module. `thread` names it to the system. */
  | { t: "ready"; thread: number }
  /** An error that nothing has caught: it ends the thread. */
  | { t: "crashed"; error: ErrorRecord }
  | { t: "loaded"; exports: Exports; disposes: boolean }
  | { t: "load-failed"; code: string; error: ErrorRecord }
  | { t: "stopped" }
  /** It rests, and has still something that the module has started; null where it has found nothing. */
  | { t: "at-rest"; left: string | null }
  /** It runs calls of the next lease from then on. */
  | { t: "resumed"; resume: Resume }
  /** A function has met this rule of its room for the first time. */
  | { t: "denied"; rule: Rule }
  | Report;

/**
 * How a report travels. Functions can post what they like to the main thread, which heeds what has the token of the first message: that
 * was sent before any function was loaded.
 */
export interface Signed {
  token: bigint;
  report: WorkerReport;
}
