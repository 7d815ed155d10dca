/** Whether two processes are on one machine, and so can share memory. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";

let known: string | undefined;

/**
 * Names this machine since its last boot. Two containers on one kernel get the same name. Where the kernel's own name is hidden, as
 * from a service with `ProcSubset=pid`, the machine's host name must do.
 */
export function machineId(): string {
  return (known ??= bootId() ?? `host ${hostname()}`);
}

function bootId(): string | undefined {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return undefined;
  }
}
