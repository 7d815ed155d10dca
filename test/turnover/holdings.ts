/** What a process holds of its machine: counted before and after many leases, it shows what they have left. */
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { groups } from "../../src/base/machine/cgroup.ts";
import { descendants } from "../support/processes.ts";

export interface Holdings {
  descriptors: number;
  mounts: number;
  /** Those that are not this process's own, held by descriptors or by what it has started. */
  namespaces: number;
  processes: number;
  threads: number;
  folders: number;
  groups: number;
}

/** `folders` are looked through whole. */
export function holdings(pid: number, folders: readonly string[]): Holdings {
  const started = descendants(pid);
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    mounts: readFileSync(`/proc/${pid}/mountinfo`, "utf8").trim().split("\n").length,
    namespaces: namespaces([pid, ...started]),
    processes: started.length + deadChildren(pid),
    threads: readdirSync(`/proc/${pid}/task`).length,
    folders: folders.flatMap((folder) =>
      readdirSync(folder, { recursive: true, withFileTypes: true }),
    ).length,
    groups: groupsOf(pid).length,
  };
}

/** Control groups of a node's hosts, of both versions. */
function groupsOf(pid: number): string[] {
  return groups("/").flatMap(({ folders: [folder] }) =>
    readdirSync(folder!)
      .filter((name) => name.startsWith(`rfaas-${pid}-`))
      .flatMap((name) => readdirSync(`${folder}/${name}`, { withFileTypes: true }))
      .filter((entry) => entry.isDirectory())
      .map(({ parentPath, name }) => `${parentPath}/${name}`),
  );
}

function namespaces(pids: readonly number[]): number {
  const own = new Set(linksIn("/proc/self/ns"));
  const all = pids.flatMap((pid) => [...linksIn(`/proc/${pid}/ns`), ...linksIn(`/proc/${pid}/fd`)]);
  const found = new Set(all.filter((link) => /^\w+:\[\d+\]$/.test(link)));
  return [...found].filter((link) => !own.has(link) && !/^(?:pipe|socket):/.test(link)).length;
}

function linksIn(folder: string): string[] {
  try {
    return readdirSync(folder).flatMap((name) => {
      try {
        return [readlinkSync(`${folder}/${name}`)];
      } catch {
        return [];
      }
    });
  } catch {
    // The process is gone.
    return [];
  }
}

/** Children that have ended, and that the process has not waited for. */
function deadChildren(parent: number): number {
  return readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      const [state, of] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return state === "Z" && Number(of) === parent;
    } catch {
      return false;
    }
  }).length;
}
