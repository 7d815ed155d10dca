/** The one place that starts threads: entry points are named here and in `src/build.ts`, and nowhere else. */
import { Worker, type WorkerOptions } from "node:worker_threads";
import { type ShimWorkerData, shimPath } from "../ffi/library.ts";
import type { PackageThreadData } from "./executor/package-orders.ts";

/** Entry points that the executable must embed, from `src/`. */
export const WORKER_ENTRY_POINTS = [
  "./function-worker.ts",
  "./executor/package-thread.ts",
] as const;

/** Starts a thread that runs functions. Throws, with the system's code, when there may be no more threads. */
export function startFunctionWorker(name: string): Worker {
  const data: ShimWorkerData = { rfaasShim: shimPath() };
  return started(new URL("./function-worker.ts", import.meta.url), { name, workerData: data });
}

/** Starts a thread that works on the files of packages. Throws as {@link startFunctionWorker}. */
export function startPackageThread(data: PackageThreadData): Worker {
  const options: WorkerOptions = { name: "packages", workerData: data };
  return started(new URL("./executor/package-thread.ts", import.meta.url), options);
}

function started(entry: URL, options: WorkerOptions): Worker {
  try {
    return new Worker(entry, options);
  } catch (cause) {
    throw Object.assign(new Error("no thread can be started", { cause }), { code: "EAGAIN" });
  }
}
