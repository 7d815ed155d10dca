/** What is left of a run's processes when all of them have ended: processes, ports, mounts, files, control groups. */
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { groups } from "../../src/base/machine/cgroup.ts";
import type { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";
import type { Cluster } from "./cluster.ts";

/** A process that was killed takes a moment. */
const GONE_LIMIT_MS = 10_000;

export async function leftovers(cluster: Cluster, scratch: Scratch): Promise<string[]> {
  await until(
    () => processesOf(scratch).length === 0,
    "its processes are gone",
    GONE_LIMIT_MS,
  ).catch(() => {});
  return [
    ...processesOf(scratch).map((what) => `process ${what}`),
    ...cluster.networks.listening().map((what) => `port ${what}`),
    ...linesOf("/proc/self/mountinfo")
      .filter((line) => line.includes(scratch.path) && !line.includes(` ${scratch.join("disks")}/`))
      .map((line) => `mount ${line}`),
    ...filesOf(scratch),
    ...groupsOf(cluster),
    ...sharedMemory(),
  ];
}

/** Processes of the run's executables, which no other run has. */
function processesOf(scratch: Scratch): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const exe = readlinkSync(`/proc/${pid}/exe`);
        const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ");
        return exe.startsWith(scratch.path) ? [`${pid}: ${line}`] : [];
      } catch {
        return [];
      }
    });
}

const linesOf = (path: string): string[] => readFileSync(path, "utf8").trim().split("\n");

/** What is in the folders for what lasts no longer than its process. */
function filesOf(scratch: Scratch): string[] {
  const roles = readdirSync(scratch.path).filter((name) =>
    /^(?:n\d+|client|manager|standby)$/.test(name),
  );
  return roles.flatMap((role) =>
    ["tmp", "run"].flatMap((place) => {
      const folder = scratch.join(`${role}/${place}`);
      return readdirSync(folder, { recursive: true }).map((name) => `file ${folder}/${name}`);
    }),
  );
}

/** Groups of nodes, whose names have the pid of the node. */
function groupsOf(_cluster: Cluster): string[] {
  return groups("/").flatMap(({ folders: [folder] }) =>
    readdirSync(folder!)
      .filter((name) => /^rfaas-\d+-/.test(name))
      .filter((name) => !aliveAs(Number(/^rfaas-(\d+)-/.exec(name)![1])))
      .map((name) => `control group ${folder}/${name}`),
  );
}

function aliveAs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const sharedMemory = (): string[] =>
  readdirSync("/dev/shm")
    .filter((name) => name.includes("rfaas"))
    .map((name) => `memory /dev/shm/${name}`);
