/** Processes of this machine, as /proc shows them: who is whose child, and what each has cost so far. */
import { readFileSync, readdirSync } from "node:fs";
import { cpuTimeNs } from "../../ffi/system.ts";

export interface ProcessEntry {
  name: string;
  parent: number;
  /** CPU time in user mode and in the kernel, in ticks of {@link TICK_MS}. */
  ticks: number;
  /** Pages that it has touched first, or that were mapped without reading a disk. */
  minorFaults: number;
}

/** Linux tells programs of ticks of this length, whatever its own are. */
export const TICK_MS = 10;

/** By number. */
export function allProcesses(): Map<number, ProcessEntry> {
  return new Map(
    readdirSync("/proc").flatMap((entry) => {
      const pid = Number(entry);
      const process = Number.isInteger(pid) ? processEntry(pid) : undefined;
      return process === undefined ? [] : [[pid, process] as const];
    }),
  );
}

/** Undefined once it is gone. */
export function processEntry(pid: number): ProcessEntry | undefined {
  const stat = readOf(pid, "stat");
  if (stat === undefined) return undefined;
  // A name may have spaces and parentheses in it.
  const end = stat.lastIndexOf(")");
  const fields = stat.slice(end + 2).split(" ");
  return {
    // A process may call itself what it likes, and the name goes to a terminal.
    name: stat.slice(stat.indexOf("(") + 1, end).replace(/[\p{Cc}\p{Cf}]/gu, "?"),
    parent: Number(fields[1]),
    ticks: Number(fields[11]) + Number(fields[12]),
    minorFaults: Number(fields[7]),
  };
}

/** Whether a process is `from`, or has been started by it or by one that it has started. */
export function descends(
  pid: number,
  from: number,
  processes: ReadonlyMap<number, Pick<ProcessEntry, "parent">>,
): boolean {
  for (let at: number | undefined = pid; at; at = processes.get(at)?.parent)
    if (at === from) return true;
  return false;
}

export interface Memory {
  /** What ends with the process. */
  privateBytes: number;
  /** The same, with its part of what it shares with others. */
  pssBytes: number;
}

/** Undefined where the process is gone, or is another user's. */
export function memoryOf(pid: number): Memory | undefined {
  const rollup = readOf(pid, "smaps_rollup");
  if (!rollup) return undefined;
  const bytes = (name: string) =>
    1024 * Number(new RegExp(`^${name}: +(\\d+) kB$`, "m").exec(rollup)?.[1] ?? 0);
  return {
    privateBytes: bytes("Private_Clean") + bytes("Private_Dirty"),
    pssBytes: bytes("Pss"),
  };
}

/** What a process has cost since it began. */
export interface Cost {
  minor_faults: number;
  cpu_ns: number;
  private_bytes: number;
}

/** Undefined where the process is gone, or is another user's. */
export function costOf(pid: number): Cost | undefined {
  const entry = processEntry(pid);
  const cpuNs = cpuTimeNs(pid);
  const memory = memoryOf(pid);
  if (entry === undefined || cpuNs === undefined || memory === undefined) return undefined;
  return {
    minor_faults: entry.minorFaults,
    cpu_ns: cpuNs,
    private_bytes: memory.privateBytes,
  };
}

/** What this process has started, and those have, with what each has cost so far. */
export function costsOfDescendants(): Map<number, Cost> {
  const processes = allProcesses();
  return new Map(
    [...processes.keys()].flatMap((pid) => {
      const cost =
        pid !== process.pid && descends(pid, process.pid, processes) ? costOf(pid) : undefined;
      return cost === undefined ? [] : [[pid, cost] as const];
    }),
  );
}

/** How often the threads of a process have gone to sleep so far: each time, something has to wake them. */
export function sleepsOf(pid: number): number | undefined {
  try {
    return readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => {
      const status = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
      return sum + Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1] ?? 0);
    }, 0);
  } catch {
    return undefined;
  }
}

function readOf(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return undefined;
  }
}
