/** Which process of a container is the first of its namespace, and so the host. */
import { readFileSync, readdirSync } from "node:fs";

/** Whether a process is the first of a namespace within the agent's. */
export const isFirstOfNamespace = (pid: number): boolean =>
  /^NSpid:\t\d+.*\t1$/m.test(statusOf(pid));

/** Whether it is there, and has not ended. */
export const runs = (pid: number): boolean => /^State:\t[^ZX]/m.test(statusOf(pid));

/** The first process of a namespace among those that `pid` has started, and that these have. */
export function firstProcessUnder(pid: number): number | undefined {
  for (const child of childrenOf(pid)) {
    const found = isFirstOfNamespace(child) ? child : firstProcessUnder(child);
    if (found !== undefined) return found;
  }
  return undefined;
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, "latin1")
        .split(" ")
        .filter((word) => word !== "")
        .map(Number),
    );
  } catch {
    return [];
  }
}

function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "latin1");
  } catch {
    return "";
  }
}
