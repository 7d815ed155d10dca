/** What a node may lease of its machine by the affinity mask and the control groups of its process, and which of them sets each limit. */
import { cpus, totalmem } from "node:os";
import { usableCpus } from "../../../ffi/system.ts";
import { countOf, formatBytes } from "../../base/units.ts";
import { type CgroupLimits, readCgroupLimits } from "../../base/machine/cgroup.ts";

/** A number, and in words where it comes from. */
export interface Figure {
  value: number;
  from: string;
}

export interface MachineLimits {
  /** CPUs that threads may run on, ascending. */
  cpus: number[];
  /** As many as can run at all times: fewer than there are CPUs where CPU time is limited. One at least. */
  cores: Figure;
  memoryBytes: Figure;
  /** CPU time that is left, in CPUs, where it is limited. */
  cpuTime: Figure | undefined;
  /** Processes and threads that may still be started, where they are limited. */
  tasksLeft: Figure | undefined;
}

/** What {@link machineLimits} asks of the machine. */
export interface Machine {
  cpuCount: number;
  memoryBytes: number;
  /** CPUs of the affinity mask, ascending. */
  affinity: readonly number[];
  cgroup: CgroupLimits;
}

export function machineLimits(machine: Machine = thisMachine()): MachineLimits {
  const { cpuCount, cgroup, affinity } = machine;
  const inSet = affinity.filter((cpu) => cgroup.cpuSet?.cpus.includes(cpu) ?? true);
  // Both come from the kernel; where they contradict each other, the mask is what threads really get.
  const usable = inSet.length > 0 ? inSet : [...affinity];
  const cores: Figure[] = [{ value: Math.max(1, cpuCount), from: "the machine's CPUs" }];
  // Before the mask, which follows from it: the cause is named.
  if (cgroup.cpuSet) {
    const { cpus: inGroup, from } = cgroup.cpuSet;
    cores.push({ value: inGroup.length, from: `${from} leaves ${list(inGroup)}` });
  }
  cores.push({ value: affinity.length, from: `the affinity mask leaves ${list(affinity)}` });
  if (cgroup.cpus)
    cores.push({ value: Math.floor(cgroup.cpus.value), from: quotaInWords(cgroup.cpus) });
  const memory: Figure[] = [{ value: machine.memoryBytes, from: "the machine's memory" }];
  if (cgroup.memoryBytes)
    memory.push({ value: cgroup.memoryBytes.value, from: cgroup.memoryBytes.from });
  const fewest = least(cores);
  return {
    cpus: usable,
    cores: { ...fewest, value: Math.max(1, Math.min(fewest.value, usable.length)) },
    memoryBytes: least(memory),
    cpuTime: cgroup.cpus && { value: cgroup.cpus.value, from: quotaInWords(cgroup.cpus) },
    tasksLeft: cgroup.tasks && {
      value: cgroup.tasks.left,
      from: `${cgroup.tasks.from} is ${cgroup.tasks.value}`,
    },
  };
}

/** Processes and threads of an agent, a spare host and one with a lease of a few workers. */
export const WANTED_TASKS = 128;

/** What a node offers by default: all cores, and half of the memory, since hosts need some for themselves. */
export function defaultOffer(limits: MachineLimits): { cores: number; memoryBytes: number } {
  return {
    cores: limits.cores.value,
    memoryBytes: Math.max(1, Math.floor(limits.memoryBytes.value / 2)),
  };
}

/** Where the offer goes beyond the limits: a sentence each. */
export function excesses(
  offer: { cores: number; memoryBytes: number },
  { cores, memoryBytes, tasksLeft }: MachineLimits,
): string[] {
  const found: string[] = [];
  if (offer.cores > cores.value)
    found.push(
      `${countOf(offer.cores, "core")} are offered and ${cores.value} can run at a time (${cores.from}): workers will share them; give --cores ${cores.value}`,
    );
  if (offer.memoryBytes > memoryBytes.value)
    found.push(
      `${formatBytes(offer.memoryBytes)} are offered and the node may have ${formatBytes(memoryBytes.value)} (${memoryBytes.from}): the kernel will kill hosts; give less --memory`,
    );
  if (tasksLeft && tasksLeft.value < WANTED_TASKS)
    found.push(
      `${tasksLeft.value} more processes and threads may be started (${tasksLeft.from}) and a node with two hosts wants ${WANTED_TASKS}: leases may fail; raise that limit`,
    );
  return found;
}

function thisMachine(): Machine {
  return {
    cpuCount: cpus().length,
    memoryBytes: totalmem(),
    affinity: usableCpus(),
    cgroup: readCgroupLimits(),
  };
}

function least(figures: readonly Figure[]): Figure {
  return figures.reduce((a, b) => (b.value < a.value ? b : a));
}

const quotaInWords = ({ value, from }: Figure): string =>
  `${from} gives the time of ${countOf(Number(value.toFixed(2)), "CPU")}`;

const list = (some: readonly number[]): string => `CPUs ${some.join(",")}`;
