/** A thread of a host, which waits for a lease or runs one of its workers. */
import { restrictThread } from "../../../ffi/system.ts";
import { startFunctionWorker } from "../../base/workers.ts";
import { HOST_EXIT } from "../../protocol/ends/host-exit.ts";
import type { ErrorRecord } from "../../protocol/failed.ts";
import type { HostOrder, LoadOrder, Signed, WorkerReport } from "../worker/thread-messages.ts";

/** How long a thread may take to die before the whole host does. */
const TERMINATE_LIMIT_MS = 2000;

export interface Thread {
  ready: Promise<void>;
  /** Hears what the worker reports from then on. */
  onReport: (report: WorkerReport) => void;
  /** Why it ended, once it has: an uncaught error, or an exit. */
  ended: Promise<ErrorRecord>;
  /**
   * Puts it, once it is ready, on these CPUs, with all that it starts from then on: a library may start its threads when it is loaded.
   * It may run anywhere without any. In a sealed room it stays where it is.
   */
  place(cpus: readonly number[]): void;
  /** Lets it load a module, once it is ready. */
  load(order: LoadOrder): void;
  post(order: HostOrder): void;
  /** Resolves when the thread is gone. */
  terminate(): Promise<void>;
}

export function startThread(index: number): Thread {
  const worker = startFunctionWorker(`rfaas-worker-${index}`);
  const ended = Promise.withResolvers<ErrorRecord>();
  const gone = Promise.withResolvers<void>();
  const ready = Promise.withResolvers<void>();
  let id: number | undefined;
  void ended.promise.then(({ message }) => ready.reject(new Error(message)));
  // The owner of the thread hears of it from `ended`, too.
  ready.promise.catch(() => {});
  const thread: Thread = {
    ready: ready.promise,
    onReport: (report) => {
      if (report.t === "ready") id = report.thread;
      ready.resolve();
    },
    ended: ended.promise,
    place(cpus) {
      // While it sleeps: a thread that moves itself waits for the other CPU.
      if (cpus.length > 0) restrictThread(cpus, id);
    },
    load: (order) => worker.postMessage(order),
    post: (order) => worker.postMessage(order),
    terminate() {
      worker.terminate();
      return gone.promise;
    },
  };
  let token: bigint | undefined;
  // One listener for the thread's life: adding one takes milliseconds while the worker imports a module.
  worker.addEventListener("message", ({ data }: MessageEvent<Signed | null | undefined>) => {
    token ??= data?.token;
    if (!data || data.token !== token) return;
    const { report } = data;
    if (report.t === "crashed") ended.resolve(report.error);
    else thread.onReport(report);
  });
  // The worker reports what it can read of an error; this is for errors before it listens.
  worker.addEventListener("error", ({ message }) =>
    ended.resolve({ name: "WorkerError", message }),
  );
  worker.addEventListener("close", ({ code }) => {
    ended.resolve({ name: "Error", message: `its thread exited with code ${code}` });
    gone.resolve();
  });
  return thread;
}

/** Resolves when the thread of a worker is gone, and runs no call any more. One that cannot be stopped ends the host, and so the lease. */
export async function endThread(thread: Thread, worker: number): Promise<void> {
  const overdue = setTimeout(() => {
    console.error(
      `worker ${worker} is stuck in native code or WebAssembly and cannot be stopped; ending its lease`,
    );
    process.exit(HOST_EXIT.stuck);
  }, TERMINATE_LIMIT_MS);
  await thread.terminate();
  clearTimeout(overdue);
}

/** Tells a thread something as soon as it listens; a thread that never does reports its end. */
export function whenReady(thread: Thread, order: HostOrder): void {
  void thread.ready.then(
    () => thread.post(order),
    () => {},
  );
}
