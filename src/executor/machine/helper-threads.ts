/** Threads that the engine starts for itself, to compile and to collect garbage, by their names. The shim knows the same ones. */
import { readFileSync } from "node:fs";

const ENGINE_THREADS =
  /^(JITWorker|HeapHelper|mi-scavenger|JSCWarmUp|s Signal Sender|ollector Thread|Bun Pool)/;

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
