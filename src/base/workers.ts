/** The one place that starts threads: their entry points are named here, and nowhere else. */
import { Worker, type WorkerOptions } from "node:worker_threads";
import { type ShimWorkerData, shimPath } from "../../ffi/library.ts";
import { compiled } from "./program/form.ts";

const FUNCTION_WORKER = "executor/worker/function-worker.ts";
const PACKAGE_THREAD = "executor/packages/thread.ts";

/** What threads of scripts run first: `commands/run/modules.ts` names it to them. */
const SCRIPT_THREAD = "commands/run/thread-preload.ts";

/** Entry points that the executable must embed, from `src/`. */
export const WORKER_ENTRY_POINTS: readonly string[] = [
  FUNCTION_WORKER,
  PACKAGE_THREAD,
  SCRIPT_THREAD,
];

/** Starts a thread that runs functions. Throws, with the system's code, when there may be no more threads. */
export function startFunctionWorker(name: string): Worker {
  const data: ShimWorkerData = { rfaasShim: shimPath() };
  return started(FUNCTION_WORKER, { name, workerData: data });
}

/** Starts a thread that works on the files of packages; it gets `data`. Throws as {@link startFunctionWorker}. */
export function startPackageThread(data: object): Worker {
  return started(PACKAGE_THREAD, { name: "packages", workerData: data });
}

/** Starts a thread that says one word and knows nothing of rfaas: what benchmarks compare a start with. */
export const startBareThread = (): Worker =>
  new Worker('require("node:worker_threads").parentPort.postMessage(0)', { eval: true });

function started(entry: string, options: WorkerOptions): Worker {
  // The executable embeds entry points under the folder of `main.ts`, where all of its own code seems to lie.
  const url = new URL(compiled ? `./${entry}` : `../${entry}`, import.meta.url);
  try {
    return new Worker(url, options);
  } catch (cause) {
    throw Object.assign(new Error("no thread can be started", { cause }), { code: "EAGAIN" });
  }
}
