/** What a process has mapped of the memory of leases. */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";

const SETTING = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

export const PAGE = 4096;

/** Pages that are mapped of a process's leases. */
export function mappedPages(pid: number | "self"): number {
  let pages = 0;
  let counts = false;
  for (const line of readFileSync(`/proc/${pid}/smaps`, "utf8").split("\n")) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) counts = line.includes("memfd:rfaas-lease");
    const resident = /^Rss: +(\d+) kB$/.exec(line);
    if (counts && resident) pages += (1024 * Number(resident[1])) / PAGE;
  }
  return pages;
}

/** Those of this process's lease that is mapped at an address. `smaps` would take seconds in a process that has mapped much. */
export function mappedPagesAt(address: number): number {
  const range = readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes("memfd:rfaas-lease"))
    .map((line) => /^([0-9a-f]+)-([0-9a-f]+) /.exec(line)!)
    .map(([, from, to]) => [Number.parseInt(from!, 16), Number.parseInt(to!, 16)] as const)
    .find(([from, to]) => from <= address && address < to);
  if (!range) return 0;
  const [from, to] = range.map((at) => at / PAGE) as [number, number];
  const entries = new BigUint64Array(to - from);
  const fd = openSync("/proc/self/pagemap", "r");
  try {
    readSync(fd, entries, 0, entries.byteLength, 8 * from);
  } finally {
    closeSync(fd);
  }
  return entries.reduce((pages, entry) => pages + Number(entry >> 63n), 0);
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
