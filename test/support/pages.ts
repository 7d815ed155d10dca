/** What a process has mapped of the memory of leases. */
import { readFileSync } from "node:fs";

const SETTING = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

export const PAGE = 4096;

/** Pages that are mapped of a process's leases, or of the one that is mapped at an address. */
export function mappedPages(pid: number | "self", address?: number): number {
  let pages = 0;
  let counts = false;
  for (const line of readFileSync(`/proc/${pid}/smaps`, "utf8").split("\n")) {
    const range = /^([0-9a-f]+)-([0-9a-f]+) .*$/.exec(line);
    if (range) {
      const [from, to] = [Number.parseInt(range[1]!, 16), Number.parseInt(range[2]!, 16)];
      const isAt = address === undefined || (from <= address && address < to);
      counts = line.includes("memfd:rfaas-lease") && isAt;
    }
    const resident = /^Rss: +(\d+) kB$/.exec(line);
    if (counts && resident) pages += (1024 * Number(resident[1])) / PAGE;
  }
  return pages;
}

/** Whether this machine gives shared memory huge pages, where a few pages cannot be told from many; says so, for tests that skip. */
export function hasHugePages(): boolean {
  const read = (path: string): string => {
    try {
      return readFileSync(path, "utf8");
    } catch {
      return "";
    }
  };
  const given = /\[(\w+)\]/.exec(read(SETTING))?.[1] ?? "never";
  const reserved = Number(/^HugePages_Total: +(\d+)$/m.exec(read("/proc/meminfo"))?.[1] ?? 0);
  const has = !["never", "deny"].includes(given) || reserved > 0;
  if (has)
    console.log(
      `skipped: counts of single pages, since ${SETTING} says ${given}, and ${reserved} huge pages are reserved`,
    );
  return has;
}
