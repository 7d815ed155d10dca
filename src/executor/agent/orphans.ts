/**
 * What functions have started ends with their lease. A host is the parent of whatever its functions start, also of what has left
 * its session or has forked twice; when the host is gone, the agent is, and ends it.
 */
import { endChildren } from "../../../ffi/children.ts";
import { ownChildren } from "../../base/process.ts";

const MAX_PAUSE_MS = 20;
/** What the kernel cannot end at once, since it waits for a device, holds no lease longer. */
const LIMIT_MS = 10_000;

/** Ends what the hosts that are gone have left behind, until there is none. Resolves to its CPU time in nanoseconds. */
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
