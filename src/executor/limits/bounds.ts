/** What a lease may have of its node besides its cores and its registered memory. */

/** The bounds of one lease. What a host has before it loads a module does not count: it is the node's. */
export interface Bounds {
  /** JavaScript heap, native memory, children, and files in memory; not the lease's registered memory. */
  heapBytes: number;
  /** The registered memory, with the pages of counters beside it. */
  registeredBytes: number;
  /** Processes and threads, those of the host among them. */
  tasks: number;
  /** Those that it computes on at a time. */
  cores: number;
}

const MIB = 1024 * 1024;
const DEFAULT_HEAP_BYTES = 512 * MIB;
const HEAP_BYTES_PER_WORKER = 32 * MIB;
const TASKS = 512;
const TASKS_PER_CORE = 64;

/** The heap of a lease that does not say: as much as its memory, half a gigabyte at least, and more for each worker, since imports need room. */
export function defaultHeapBytes(memoryBytes: number, workers: number): number {
  return Math.max(DEFAULT_HEAP_BYTES, memoryBytes) + HEAP_BYTES_PER_WORKER * workers;
}

/** Processes and threads of a lease of so many cores: a compiler run in parallel, or a browser, and no more. */
export function tasksFor(cores: number): number {
  return TASKS + TASKS_PER_CORE * cores;
}

/** Those of all hosts of one user, where the user is one of the machine's: what so many leases of a core each could have. */
export function userTasksFor(leases: number): number {
  return leases * tasksFor(1);
}
