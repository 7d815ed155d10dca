/** Who waits for room at a node, for people. */
import type { NodeInfo } from "../../protocol/manager-messages.ts";

/** How many wait, and for how long the one that waits longest: `3 (12.4 s)`. */
export function waitingOf(
  { waiting, waitingSinceMs }: Pick<NodeInfo, "waiting" | "waitingSinceMs">,
  nowMs: number,
): string {
  if (waiting === undefined) return "-";
  if (waiting === 0 || waitingSinceMs === undefined) return String(waiting);
  return `${waiting} (${(Math.max(0, nowMs - waitingSinceMs) / 1000).toFixed(1)} s)`;
}
