/** Whether the kernel has ended processes of this machine for lack of memory. */
import { readFileSync } from "node:fs";

let seen = count();

/** Whether it has since this was asked last; true where it does not tell. */
export function hasEndedProcesses(): boolean {
  const now = count();
  const more = now === undefined || now !== seen;
  seen = now;
  return more;
}

function count(): number | undefined {
  try {
    const found = /^oom_kill (\d+)$/m.exec(readFileSync("/proc/vmstat", "latin1"));
    return found ? Number(found[1]) : undefined;
  } catch {
    return undefined;
  }
}
