/** What a host's main thread and its worker threads tell each other: plain objects over `postMessage`, once per lease. */
import type { ErrorRecord, Exports } from "../protocol/messages.ts";

/** Main thread to worker: run this lease's calls. */
export interface AttachWorker {
  /** The native endpoint, owned by the main thread. */
  handle: number;
  regionAddress: number;
  slots: number;
  hot: boolean;
  module: string;
  worker: number;
  workers: number;
  /** Pin to this CPU; -1 to stay free. */
  cpu: number;
  /** The socket that wakes this worker's event loop; the worker closes it. */
  watchFd: number;
}

/** Worker to main thread. */
export type WorkerReport =
  | { t: "ready" }
  | { t: "loaded"; exports: Exports }
  | { t: "load-failed"; code: string; error: ErrorRecord }
  | { t: "stopped" };
