/**
 * Processes that functions have started end with their lease. A host is the parent of all of them, also of those that have left its
 * session or have forked twice; when the host has exited, the agent becomes their parent, and kills them.
 */
import { endChildren } from "../../../ffi/children.ts";
import { ownChildren } from "../../base/process.ts";

const MAX_PAUSE_MS = 20;
/** How long a process that the kernel cannot kill at once, since it waits for a device, may delay the end of its lease. */
const LIMIT_MS = 10_000;

/** Kills the processes that exited hosts have left behind, until none is left. Resolves to their CPU time in nanoseconds. */
export async function endOrphans(): Promise<number> {
  const endMs = performance.now() + LIMIT_MS;
  let cpuNs = 0;
  for (let pauseMs = 1; ; pauseMs = Math.min(MAX_PAUSE_MS, 2 * pauseMs)) {
    const ended = endChildren(ownChildren());
    cpuNs += ended.cpuNs;
    if (ended.none || performance.now() > endMs) return cpuNs;
    await Bun.sleep(pauseMs);
  }
}
