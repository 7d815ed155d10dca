/**
 * The engine starts threads of its own, to compile and to collect garbage, when it first needs them. One that a worker started
 * while it loaded its module has the worker's CPUs, where it would wait behind a loop that spins.
 */
import { readFileSync, readdirSync } from "node:fs";
import { restrictThread } from "../../../ffi/system.ts";

const ENGINE_THREADS =
  /^(JITWorker|HeapHelper|mi-scavenger|JSCWarmUp|s Signal Sender|ollector Thread|Bun Pool)/;

/** Lets the engine's threads of this process run anywhere; those of functions stay where they are. */
export function freeHelperThreads(): void {
  try {
    for (const thread of readdirSync("/proc/self/task"))
      if (isEngines(thread)) restrictThread([], Number(thread));
  } catch {
    // Without /proc they stay where they are, and work.
  }
}

/** Whether a thread of this process is the engine's. */
export const isEngines = (thread: string): boolean => ENGINE_THREADS.test(nameOf(thread));

/** What a thread of this process is called; nothing when it is gone. */
export function nameOf(thread: string): string {
  try {
    return readFileSync(`/proc/self/task/${thread}/comm`, "utf8").trim();
  } catch {
    return "";
  }
}
