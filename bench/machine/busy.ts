/**
 * Who else uses the machine when a benchmark starts: what it measures then says more of them than of rfaas. The system's own counts
 * are read twice, a fifth of a second apart.
 */
import { readFileSync } from "node:fs";
import { type ProcessEntry, TICK_MS, allProcesses, descends } from "./processes.ts";

/** Another user of the machine, by its share of one core. */
export interface BusyUser {
  /** Undefined for what no process that can be seen has used. */
  pid?: number;
  name: string;
  cores: number;
}

/** What all processors and each process have used so far, in ticks of the system's clock. */
export interface Usage {
  /** Of processes, in user mode and in the kernel. */
  used: number;
  /** What the hypervisor gave to other machines. */
  stolen: number;
  processes: ReadonlyMap<number, Pick<ProcessEntry, "name" | "parent" | "ticks">>;
}

const LOOK_MS = 200;
/** Less is what any machine does by the way. */
const BUSY_CORES = 0.15;
const STOLEN = "other machines on this processor";
const UNSEEN = "processes that have ended, or cannot be seen from here";

/** Those that use more than 15 % of a core, the busiest first; never this process and those that it has started. */
export async function busyUsers(): Promise<BusyUser[]> {
  const before = usage();
  const startedNs = Bun.nanoseconds();
  await Bun.sleep(LOOK_MS);
  const after = usage();
  return busyBetween(before, after, (Bun.nanoseconds() - startedNs) / 1e6, process.pid);
}

/** As {@link busyUsers}, of two readings; `own` is the process that does not count, with its descendants. */
export function busyBetween(
  before: Usage,
  after: Usage,
  elapsedMs: number,
  own: number,
): BusyUser[] {
  const cores = (ticks: number) => (ticks * TICK_MS) / elapsedMs;
  let seen = 0;
  const users: BusyUser[] = [];
  for (const [pid, { name, ticks }] of after.processes) {
    // One that has started in between has used all of its ticks since. A number that another process had before may be less.
    const used = Math.max(0, ticks - (before.processes.get(pid)?.ticks ?? 0));
    seen += used;
    if (!descends(pid, own, after.processes)) users.push({ pid, name, cores: cores(used) });
  }
  users.push({ name: UNSEEN, cores: cores(after.used - before.used - seen) });
  users.push({ name: STOLEN, cores: cores(after.stolen - before.stolen) });
  return users
    .filter(({ cores }) => cores >= BUSY_CORES)
    .toSorted((a, b) => b.cores - a.cores)
    .map((user) => ({ ...user, cores: Math.round(user.cores * 100) / 100 }));
}

function usage(): Usage {
  const [user = 0, nice = 0, system = 0, , , , , stolen = 0] =
    /^cpu +(.*)$/m.exec(readFileSync("/proc/stat", "utf8"))?.[1]?.split(" ").map(Number) ?? [];
  return { used: user + nice + system, stolen, processes: allProcesses() };
}

const NAMED = 3;

/** For a person, in one line. */
export function busyInWords(users: readonly BusyUser[]): string {
  const named = users.slice(0, NAMED).map(({ pid, name, cores }) => {
    const who = pid === undefined ? name : `${name} (pid ${pid})`;
    return `${who}, ${Math.round(cores * 100)} % of a core`;
  });
  const more = users.length - named.length;
  return `the machine is busy, and the figures will tell of it: ${named.join("; ")}${more > 0 ? `; and ${more} more` : ""}`;
}
