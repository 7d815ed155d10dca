/** What is left of processes: asked of /proc, so that nothing is taken on trust. */
import { readFileSync, readdirSync } from "node:fs";

interface Entry {
  pid: number;
  parent: number;
  state: string;
}

function all(): Entry[] {
  const entries: Entry[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      entries.push({ pid: Number(name), parent: Number(parent), state: state! });
    } catch {
      // It ended meanwhile.
    }
  }
  return entries;
}

/** Whether the process runs; a zombie does not. */
export function alive(pid: number): boolean {
  return all().some((entry) => entry.pid === pid && entry.state !== "Z");
}

/** Who has started it; undefined when it is gone. */
export function parentOf(pid: number): number | undefined {
  return all().find((entry) => entry.pid === pid)?.parent;
}

/** Children, their children and so on, that run. */
export function descendants(pid: number): number[] {
  const entries = all();
  const found: number[] = [];
  for (let parents = [pid]; parents.length > 0;) {
    parents = entries
      .filter(({ parent, state }) => parents.includes(parent) && state !== "Z")
      .map(({ pid }) => pid);
    found.push(...parents);
  }
  return found;
}

/** How often threads of a process have gone to sleep so far, and so how often they have woken: what a polling program cannot hide. */
export function sleeps(pid: number): number {
  let count = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    try {
      const status = readFileSync(`/proc/${pid}/task/${task}/status`, "utf8");
      count += Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1] ?? 0);
    } catch {
      // It ended meanwhile.
    }
  }
  return count;
}

/** Memory that a process has to itself, in bytes: however many others run the same executable, it is the same. */
export function anonymousBytes(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return 1024 * Number(/^Anonymous:\s+(\d+) kB/m.exec(text)![1]);
}

export function residentBytes(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(text)![1]);
}

/** Entries of the places where a careless program leaves files. */
export function leftovers(): string[] {
  return ["/dev/shm", "/tmp"].flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => /rfaas|^\.bun-/.test(name) && !name.startsWith("rfaas-test-"))
      .map((name) => `${folder}/${name}`),
  );
}

/** Processes whose command line has the mark, dead ones left out. */
export function marked(mark: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0").includes(mark);
      } catch {
        return false;
      }
    })
    .map(Number);
}
