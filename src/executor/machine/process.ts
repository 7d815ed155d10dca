/** What the kernel says of a process of this machine. */
import { readFileSync } from "node:fs";

/** Memory that a process shares with no other one; 0 where the system does not say. */
export function privateBytesOf(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    return Number(/^RssAnon:\s*(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** Whether a process lives, also before the news of its end has come: memory is what a process that dies gives up first. */
export function hasMemory(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/statm`, "latin1").startsWith("0 ");
  } catch {
    return false;
  }
}

/** Whether a process is stopped, by a signal or by a debugger. */
export function isStopped(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // Its name, before, may have any characters.
    return /^[Tt]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false;
  }
}
