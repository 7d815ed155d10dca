/** Examines a machine for rfaas: one finding a subject, each with the one command that mends it where something is amiss. */
import { readFileSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { LAYOUT } from "../../ffi/layout.ts";
import { native, shimPath } from "../../ffi/library.ts";
import { memlockLimitBytes, ticksInvariant } from "../../ffi/system.ts";
import { type MachineLimits, WANTED_TASKS, machineLimits } from "../executor/machine/limits.ts";
import { whyUncounted } from "../executor/limits/sockets.ts";
import { roomFindings } from "../executor/sandbox/process/findings.ts";
import type { Finding } from "../base/finding.ts";
import { fabrics } from "../fabric/registry.ts";
import { formatBytes } from "../base/units.ts";
import { VERSION } from "../base/version.ts";

/** RDMA registers memory; a lease of the default size should fit. */
const WANTED_MEMLOCK_BYTES = 64 * 1024 * 1024;
/** An agent, a spare host and one with a lease of the default size. */
const WANTED_MEMORY_BYTES = 256 * 1024 * 1024;

/** Tells `trying` of each fabric whose self test, which is timed, begins. */
export async function examine(trying: (fabric: string) => void = () => {}): Promise<Finding[]> {
  const loaded = shim();
  // Without the shim most questions cannot be asked.
  if (loaded.state === "missing") return [versions(), loaded];
  const limits = machineLimits();
  return [
    versions(),
    loaded,
    ...(await examineFabrics(trying)),
    cores(limits),
    clock(),
    memory(limits),
    ...tasks(limits),
    memlock(),
    hugePages(),
    sharedMemoryFolder(),
    temp(),
    ...rooms(),
  ];
}

function versions(): Finding {
  return {
    name: "versions",
    state: "ok",
    found: `rfaas ${VERSION}, Bun ${Bun.version}, layout ${LAYOUT.version}`,
  };
}

function shim(): Finding {
  try {
    native();
    return { name: "shim", state: "ok", found: shimPath() };
  } catch (error) {
    return {
      name: "shim",
      state: "missing",
      found: (error as Error).message,
      fix: "npm run setup",
    };
  }
}

/** One after another: a self test is timed. */
async function examineFabrics(trying: (fabric: string) => void): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const fabric of fabrics) {
    trying(fabric.name);
    findings.push(...(await fabric.doctor()));
  }
  return findings;
}

function cores({ cpus, cores, cpuTime }: MachineLimits): Finding {
  const found = `${cpus.length} usable CPUs (${cpus.join(",")}), ${cores.value} to lease: ${cores.from}`;
  if (cores.value >= 2) return { name: "cores", state: "ok", found };
  if (cpuTime && cpus.length >= 2)
    return {
      name: "cores",
      state: "slow",
      found: `${found}: a spinning worker and its client share it`,
      fix: "raise the cgroup's CPU limit to 2 CPUs or more",
    };
  return {
    name: "cores",
    state: "slow",
    found: `${found}: a spinning worker and its client share it`,
    fix: "taskset -c 0,1 rfaas serve, or give the machine another core",
  };
}

function clock(): Finding {
  return ticksInvariant()
    ? { name: "clock", state: "ok", found: "invariant cycle counter" }
    : {
        name: "clock",
        state: "slow",
        found: "the cycle counter changes speed: timings will be off",
        fix: "run on a machine with an invariant TSC",
      };
}

function memory({ memoryBytes: { value, from } }: MachineLimits): Finding {
  const found = `${formatBytes(value)}: ${from}`;
  if (value >= WANTED_MEMORY_BYTES) return { name: "memory", state: "ok", found };
  return {
    name: "memory",
    state: "slow",
    found: `${found}: a node and two hosts hardly fit`,
    fix: `raise the limit to ${formatBytes(WANTED_MEMORY_BYTES)} or more`,
  };
}

/** Processes and threads, where a cgroup counts them. */
function tasks({ tasksLeft }: MachineLimits): Finding[] {
  if (!tasksLeft) return [];
  const found = `${tasksLeft.value} more processes and threads: ${tasksLeft.from}`;
  if (tasksLeft.value >= WANTED_TASKS) return [{ name: "tasks", state: "ok", found }];
  return [
    {
      name: "tasks",
      state: "slow",
      found: `${found}: a node and two hosts want ${WANTED_TASKS}`,
      fix: `raise the cgroup's pids.max by ${WANTED_TASKS - tasksLeft.value}`,
    },
  ];
}

function memlock(): Finding {
  const limit = memlockLimitBytes();
  const found = limit === Infinity ? "unlimited" : formatBytes(limit);
  if (limit >= WANTED_MEMLOCK_BYTES) return { name: "memlock", state: "ok", found };
  return {
    name: "memlock",
    state: "off",
    found: `${found}: enough for shared memory, too little for RDMA`,
    fix: "ulimit -l unlimited",
  };
}

function hugePages(): Finding {
  const reserved = (name: string): number =>
    Number(
      new RegExp(`^HugePages_${name}:\\s+(\\d+)$`, "m").exec(readText("/proc/meminfo"))?.[1] ?? 0,
    );
  if (reserved("Total") > 0)
    return {
      name: "huge pages",
      state: "ok",
      found: `${reserved("Free") - reserved("Rsvd")} of ${reserved("Total")} reserved ones are free; leases of 2 MiB and more use them`,
    };
  const path = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
  const mode = /\[(\w+)\]/.exec(readText(path))?.[1];
  if (mode === "always" || mode === "within_size" || mode === "advise")
    return { name: "huge pages", state: "ok", found: `shared memory gets them (${mode})` };
  return {
    name: "huge pages",
    state: "off",
    found: `shared memory gets none from the kernel (${mode ?? "no support"}); registering much of it takes longer`,
    ...(mode ? { fix: `echo advise > ${path}` } : {}),
  };
}

function sharedMemoryFolder(): Finding {
  const free = freeBytes("/dev/shm");
  const found = free === undefined ? "not mounted" : `${formatBytes(free)} free`;
  return {
    name: "/dev/shm",
    state: "ok",
    found: `${found}; not used: leases live in anonymous memory`,
  };
}

/** What the sandbox of a node is made of. */
function rooms(): Finding[] {
  try {
    return [...roomFindings(), socketMemory()];
  } catch (error) {
    return [{ name: "rooms", state: "off", found: (error as Error).message }];
  }
}

/** Whether sockets count towards a lease's `heap`. */
function socketMemory(): Finding {
  const name = "sockets";
  const lack = whyUncounted();
  if (lack) return { name, state: "off", ...lack };
  return { name, state: "ok", found: "the kernel tells what they hold, which counts as heap" };
}

function temp(): Finding {
  const folder = tmpdir();
  const mount = readText("/proc/mounts")
    .split("\n")
    .map((line) => line.split(" "))
    .filter(
      ([, at]) =>
        at !== undefined && (folder === at || folder.startsWith(at === "/" ? "/" : `${at}/`)),
    )
    .sort((a, b) => b[1]!.length - a[1]!.length)[0];
  const noexec = mount?.[3]?.split(",").includes("noexec") ?? false;
  return {
    name: "temp folder",
    state: "ok",
    found: `${folder}${noexec ? " (noexec)" : ""}; not used: the shim is loaded from memory`,
  };
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function freeBytes(path: string): number | undefined {
  try {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}
