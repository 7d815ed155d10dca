/** The one place that starts threads: entry points are named here and in `src/build.ts`, and nowhere else. */
import { Worker, type WorkerOptions } from "node:worker_threads";
import { type ShimWorkerData, shimPath } from "../ffi/library.ts";

/** Entry points that the executable must embed, from `src/`. */
export const WORKER_ENTRY_POINTS = ["./function-worker.ts"] as const;

/** Starts a thread that runs functions. Throws, with the system's code, when there may be no more threads. */
export function startFunctionWorker(name: string): Worker {
  const data: ShimWorkerData = { rfaasShim: shimPath() };
  const options: WorkerOptions = { name, workerData: data };
  try {
    return new Worker(new URL("./function-worker.ts", import.meta.url), options);
  } catch (cause) {
    throw Object.assign(new Error("no thread can be started", { cause }), { code: "EAGAIN" });
  }
}
