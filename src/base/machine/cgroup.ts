/**
 * The limits that control groups set for this process, of both versions of the interface, which may be mounted side by side. A group's
 * limit holds for all groups beneath it, so each figure is the least along the path from the process's own group to the top of the
 * mount. All files are read beneath a root path.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** A limit, and the file that sets it. */
export interface Limit {
  value: number;
  from: string;
}

export interface CgroupLimits {
  /** CPU time per time: 1.5 is one CPU and a half. */
  cpus?: Limit;
  /** CPUs that may be used at all. */
  cpuSet?: { cpus: number[]; from: string };
  memoryBytes?: Limit;
  /** Processes and threads together. */
  tasks?: Limit & { left: number };
}

/** Reads the limits of the process that asks, beneath `root` (`/` on a real machine). What cannot be read limits nothing. */
export function readCgroupLimits(root = "/"): CgroupLimits {
  const limits: CgroupLimits = {};
  for (const { version, folders } of groups(root)) {
    const read = version === 1 ? readVersion1 : readVersion2;
    // The process's own group first: of equal limits, the nearest is named.
    for (const folder of folders) {
      const file = (name: string): string | undefined => readText(join(root, folder, name));
      const found = read(file, (name) => join(folder, name));
      for (const limit of found.cpus) limits.cpus = lesser(limits.cpus, limit);
      for (const limit of found.memoryBytes) limits.memoryBytes = lesser(limits.memoryBytes, limit);
      if (found.cpuSet) limits.cpuSet ??= found.cpuSet;
      const { tasks } = found;
      if (tasks && tasks.left < (limits.tasks?.left ?? Infinity)) limits.tasks = tasks;
    }
  }
  return limits;
}

/** CPUs of a list such as `0-3,8`, ascending. */
export function parseCpuList(list: string): number[] {
  const cpus = new Set<number>();
  for (const part of list.trim().split(",")) {
    const range = /^(\d+)(?:-(\d+))?$/.exec(part.trim());
    if (!range) continue;
    const last = Number(range[2] ?? range[1]);
    for (let cpu = Number(range[1]); cpu <= last; cpu++) cpus.add(cpu);
  }
  return [...cpus].sort((a, b) => a - b);
}

/** A control group, and those that hold it. */
export interface Group {
  version: 1 | 2;
  /** What is bounded in its hierarchy; of the second version, the group itself says. */
  controllers: readonly string[];
  /** From the process's own group to the top of the mount. */
  folders: string[];
}

/** The process's groups in all mounted hierarchies. */
export function groups(root: string): Group[] {
  const mounts = cgroupMounts(readText(join(root, "proc/self/mountinfo")) ?? "");
  const found: Group[] = [];
  const memberships = (readText(join(root, "proc/self/cgroup")) ?? "").split("\n");
  for (const line of memberships) {
    const [id, names, ...rest] = line.split(":");
    if (names === undefined || rest.length === 0) continue;
    const path = rest.join(":");
    const version = id === "0" && names === "" ? 2 : 1;
    const controllers = names.split(",");
    const fitting = mounts.filter(
      (mount) =>
        mount.version === version &&
        (version === 2 || controllers.some((name) => mount.controllers.includes(name))),
    );
    const mount = fitting.find(({ top }) => isBeneath(path, top)) ?? fitting[0];
    if (mount) found.push({ version, controllers, folders: foldersOf(path, mount) });
  }
  return found;
}

interface Mount {
  version: 1 | 2;
  at: string;
  /** The group that is mounted there. */
  top: string;
  controllers: string[];
}

function cgroupMounts(mountinfo: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of mountinfo.split("\n")) {
    const fields = line.split(" ");
    const separator = fields.indexOf("-", 6);
    const kind = fields[separator + 1];
    if (separator < 0 || (kind !== "cgroup" && kind !== "cgroup2")) continue;
    mounts.push({
      version: kind === "cgroup" ? 1 : 2,
      top: unescaped(fields[3]!),
      at: unescaped(fields[4]!),
      controllers: (fields[separator + 3] ?? "").split(","),
    });
  }
  return mounts;
}

const isBeneath = (path: string, top: string): boolean =>
  path === top || top === "/" || path.startsWith(`${top}/`);

/** A group that lies outside the mount, as in some containers, is taken for the top. */
function foldersOf(path: string, { at, top }: Mount): string[] {
  const inside = isBeneath(path, top) ? path.slice(top === "/" ? 0 : top.length) : "";
  const names = inside.split("/").filter((name) => name !== "" && name !== "..");
  return names.map((_, i) => join(at, ...names.slice(0, names.length - i))).concat(at);
}

type ReadFile = (name: string) => string | undefined;
interface Found {
  cpus: Limit[];
  cpuSet: { cpus: number[]; from: string } | undefined;
  memoryBytes: Limit[];
  tasks: (Limit & { left: number }) | undefined;
}

function readVersion1(file: ReadFile, path: (name: string) => string): Found {
  const quota = number(file("cpu.cfs_quota_us"));
  const period = number(file("cpu.cfs_period_us"));
  const quotaBinds = quota !== undefined && period !== undefined && quota > 0 && period > 0;
  // The second one knows of groups above that are not mounted here.
  const whole = /^hierarchical_memory_limit (\d+)$/m.exec(file("memory.stat") ?? "")?.[1];
  return {
    cpus: quotaBinds ? [{ value: quota / period, from: path("cpu.cfs_quota_us") }] : [],
    cpuSet: cpuSet(["cpuset.effective_cpus", "cpuset.cpus"], file, path),
    memoryBytes: [
      ...limit(file("memory.limit_in_bytes"), path("memory.limit_in_bytes")),
      ...limit(whole, path("memory.stat")),
    ],
    tasks: tasks(file, path),
  };
}

function readVersion2(file: ReadFile, path: (name: string) => string): Found {
  const [quota, period] = (file("cpu.max") ?? "max").trim().split(" ").map(Number);
  const quotaBinds = quota !== undefined && quota > 0 && period !== undefined && period > 0;
  return {
    cpus: quotaBinds ? [{ value: quota / period, from: path("cpu.max") }] : [],
    cpuSet: cpuSet(["cpuset.cpus.effective", "cpuset.cpus"], file, path),
    // The kernel throttles a process above the second limit until it makes hardly any progress.
    memoryBytes: ["memory.max", "memory.high"].flatMap((name) => limit(file(name), path(name))),
    tasks: tasks(file, path),
  };
}

function cpuSet(
  names: readonly string[],
  file: ReadFile,
  path: (name: string) => string,
): Found["cpuSet"] {
  for (const name of names) {
    const cpus = parseCpuList(file(name) ?? "");
    if (cpus.length > 0) return { cpus, from: path(name) };
  }
  return undefined;
}

function tasks(file: ReadFile, path: (name: string) => string): Found["tasks"] {
  const most = number(file("pids.max"));
  if (most === undefined) return undefined;
  const left = Math.max(0, most - (number(file("pids.current")) ?? 0));
  return { value: most, left, from: path("pids.max") };
}

function limit(text: string | undefined, from: string): Limit[] {
  const value = number(text);
  return value === undefined ? [] : [{ value, from }];
}

/** `max`, or nothing, is no number. */
export function number(text: string | undefined): number | undefined {
  const trimmed = text?.trim() ?? "";
  return /^-?\d+$/.test(trimmed) ? Number(trimmed) : undefined;
}

const lesser = (a: Limit | undefined, b: Limit): Limit => (a && a.value <= b.value ? a : b);

/** Mount tables write spaces and the like in octal. */
const unescaped = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));

export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
