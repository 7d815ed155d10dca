/** What time it is in a history, also where a fault is that somebody sets the machine's clock. */
import { readFileSync } from "node:fs";

const uptimeMs = (): number => 1000 * Number(/^\S+/.exec(readFileSync("/proc/uptime", "utf8"))![0]);

/** When the machine was started, by the clock as it is now. */
export const startOfMachineMs = (): number => Date.now() - uptimeMs();

/** Milliseconds of the machine's clock; of one that is set meanwhile, as if it were not, which takes when the machine was started. */
export function clockSince(startedMs: number | undefined): () => number {
  if (startedMs === undefined) return Date.now;
  const offsetMs = startedMs + uptimeMs() - performance.now();
  return () => Math.round(offsetMs + performance.now());
}
