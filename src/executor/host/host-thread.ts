/** A thread of a host, which waits for a lease or runs one of its workers. */
import type { Worker } from "node:worker_threads";
import { startFunctionWorker } from "../../base/workers.ts";
import type { WorkerReport } from "../worker/thread-messages.ts";

export interface Thread {
  worker: Worker;
  ready: Promise<void>;
  /** Hears what the worker reports from then on. */
  onReport: (report: WorkerReport) => void;
  /** Why it ended, once it has: an uncaught error, or an exit. */
  ended: Promise<Error>;
}

export function startThread(index: number): Thread {
  const worker = startFunctionWorker(`rfaas-worker-${index}`);
  const ended = new Promise<Error>((resolve) => {
    worker.once("error", resolve);
    worker.once("exit", (code) => resolve(new Error(`its thread exited with code ${code}`)));
  });
  const ready = Promise.withResolvers<void>();
  void ended.then(ready.reject);
  // The owner of the thread hears of it from `ended`, too.
  ready.promise.catch(() => {});
  const thread: Thread = {
    worker,
    ready: ready.promise,
    onReport: () => ready.resolve(),
    ended,
  };
  // One listener for the thread's life: adding one takes milliseconds while the worker imports a module.
  worker.on("message", (report: WorkerReport) => thread.onReport(report));
  return thread;
}
