/**
 * How much more memory this process may take before the machine, or a control group, has to find some: beyond that, the kernel ends
 * processes. All files are read beneath a root path.
 */
import { join } from "node:path";
import { groups, number, readText } from "./cgroup.ts";

/** The files of each version of the interface: the limits, what is used of them, and of that what the kernel can drop at once. */
const FILES = {
  1: {
    limits: ["memory.limit_in_bytes"],
    used: "memory.usage_in_bytes",
    dropped: /^total_inactive_file (\d+)$/m,
  },
  2: {
    limits: ["memory.max", "memory.high"],
    used: "memory.current",
    dropped: /^inactive_file (\d+)$/m,
  },
};

/** In bytes, for the process that asks. What cannot be read limits nothing. Takes some 100 us. */
export function memoryLeft(root = "/"): number {
  const meminfo = readText(join(root, "proc/meminfo")) ?? "";
  const available = number(/^MemAvailable:\s+(\d+) kB$/m.exec(meminfo)?.[1]);
  let left = available === undefined ? Infinity : 1024 * available;
  for (const { version, folders } of groups(root))
    for (const folder of folders)
      left = Math.min(
        left,
        leftIn(FILES[version], (name) => readText(join(root, folder, name))),
      );
  return left;
}

/** In one group. Groups of version 1 that limit no memory have none of the files. */
function leftIn(
  { limits, used, dropped }: (typeof FILES)[1],
  file: (name: string) => string | undefined,
): number {
  const limit = Math.min(...limits.map((name) => number(file(name)) ?? Infinity));
  if (limit === Infinity) return Infinity;
  const cached = number(dropped.exec(file("memory.stat") ?? "")?.[1]) ?? 0;
  return Math.max(0, limit - (number(file(used)) ?? 0) + cached);
}
