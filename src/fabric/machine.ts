/** Whether two processes are on one machine, and so can share memory. */
import { readFileSync } from "node:fs";

let known: string | undefined;

/** Names this machine since its last boot. Two containers on one kernel get the same name. */
export function machineId(): string {
  return (known ??= readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim());
}
