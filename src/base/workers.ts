/** The one place that starts threads: their entry points are named here, and nowhere else. */
import type { Worker as NodeWorker } from "node:worker_threads";
import { shimPath } from "../../ffi/library.ts";
import { compiled } from "./program/compiled.ts";

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

/**
 * Starts a thread that runs functions: a Web Worker, which costs half of what one of `node:worker_threads` does. Its only argument
 * says where the shim is. Throws, with the system's code, when there may be no more threads.
 */
export function startFunctionWorker(name: string): Worker {
  const options = { name, argv: [shimPath()] };
  return started(() => new Worker(entryPoint(FUNCTION_WORKER), options));
}

/** Starts a thread that works on the files of packages; it gets `data`. Throws as {@link startFunctionWorker}. */
export function startPackageThread(data: object): NodeWorker {
  // Loaded here: no host needs it.
  const { Worker } = require("node:worker_threads") as typeof import("node:worker_threads");
  const options = { name: "packages", workerData: data };
  return started(() => new Worker(entryPoint(PACKAGE_THREAD), options));
}

/** Starts a thread that says one word and knows nothing of rfaas: what benchmarks compare a start with. */
export function startBareThread(): NodeWorker {
  const { Worker } = require("node:worker_threads") as typeof import("node:worker_threads");
  return new Worker('require("node:worker_threads").parentPort.postMessage(0)', { eval: true });
}

/** The executable embeds entry points under the folder of `main.ts`, where all of its own code seems to lie. */
function entryPoint(path: string): URL {
  return new URL(compiled ? `./${path}` : `../${path}`, import.meta.url);
}

function started<Thread>(start: () => Thread): Thread {
  try {
    return start();
  } catch (cause) {
    throw Object.assign(new Error("no thread can be started", { cause }), { code: "EAGAIN" });
  }
}
