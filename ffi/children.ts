/** Kills the processes that a process has started, orphans included, and counts their CPU time. */
import type { Pointer } from "bun:ffi";
import { check } from "./errors.ts";
import { native } from "./library.ts";

const GONE = -3;
/** The agent does nothing else meanwhile. */
const EXACT_MS = 50;

/**
 * This process, and all processes that it has started, end when `parentPid` has, at the latest `graceMs` later; until then it is the parent
 * of its descendants that lose theirs. Returns false when that process is already gone.
 */
export function endWithParent(parentPid: number, graceMs = 0): boolean {
  const result = native().rfaas_end_with_parent(parentPid, graceMs);
  if (result === GONE) return false;
  check("watching the parent process", result);
  return true;
}

/** From now on this process is the parent of its descendants that lose theirs. */
export function adoptOrphans(): void {
  check("becoming a subreaper", native().rfaas_adopt_orphans());
}

/**
 * Kills the children of this process that descend from a function, without those that are to be kept. Some milliseconds at most:
 * to be repeated until there are `none`, since what they had started comes to us. `cpuNs` is what the dead have used.
 */
export function endChildren(keep: readonly number[]): { none: boolean; cpuNs: number } {
  const kept = new Int32Array(new ArrayBuffer(4 * Math.max(1, keep.length)));
  kept.set(keep);
  const cpuNs = new Float64Array(new ArrayBuffer(8));
  const left = native().rfaas_end_children(kept, keep.length, cpuNs);
  return { none: left === 0, cpuNs: cpuNs[0]! };
}

/** Waits for the dead that this process has adopted, not for what its threads have started themselves. */
export function reapAdopted(): void {
  native().rfaas_reap_adopted();
}

/** Whether this process has any, dead ones that nothing has waited for among them. */
export function hasChildren(): boolean {
  return native().rfaas_has_children() !== 0;
}

/** CPU time of all that another process of this user has started, to the hundredth of a second. */
export function descendantsTimeNs(pid: number): number {
  return native().rfaas_descendants_time(pid);
}

/** One of the descendants of a process, or that process, whose own CPU time is left out. */
export interface DescendantTime {
  /** Names it, also when its number comes again. */
  id: string;
  ownNs: number;
  /** Of those that it has started and waited for. */
  waitedNs: number;
}

const NUMBERS_EACH = 4;
const SPARE = 16;

/** CPU time of each process that another one of this user has started, to the hundredth of a second; none once that is gone. */
export function descendantTimes(pid: number): DescendantTime[] {
  for (let most = SPARE; ;) {
    const found = new Float64Array(new ArrayBuffer(8 * NUMBERS_EACH * most));
    const count = native().rfaas_descendants_times(pid, found, most);
    if (count > most) {
      most = count + SPARE;
      continue;
    }
    return Array.from({ length: count }, (_, i) => {
      const [number, started, ownNs, waitedNs] = found.subarray(NUMBERS_EACH * i);
      return { id: `${number}-${started}`, ownNs: ownNs!, waitedNs: waitedNs! };
    });
  }
}

/** What a process and its descendants have, as the kernel counts it. */
export interface TreeUsage {
  processes: number;
  threads: number;
  /** Memory that they have written and that no file backs, swapped out or not, and the kernel's page tables of all that they have mapped. */
  privateBytes: number;
  /** Pages that they have mapped of files in memory: a lease's own, and others. */
  sharedBytes: number;
  /** Descriptors that they have open; before Linux 6.2 no more than so many. */
  descriptors: number;
}

/**
 * What a process and its descendants have; undefined once it is gone. A page that several have mapped counts for each of them, or with
 * `exact` by its share, which takes ten times as long. Processes whose shares are not known after `exactMs` count in full.
 */
export function treeUsage(pid: number, exact = false, exactMs = EXACT_MS): TreeUsage | undefined {
  const found = new Float64Array(new ArrayBuffer(5 * 8));
  if (native().rfaas_tree_usage(pid, exact ? 1e3 * exactMs : -1, found) === 0) return undefined;
  const [processes, threads, privateBytes, sharedBytes, descriptors] = found;
  return {
    ...{ processes: processes!, threads: threads!, descriptors: descriptors! },
    ...{ privateBytes: privateBytes!, sharedBytes: sharedBytes! },
  };
}

/** Kills what a process has started and what that has; not the process. */
export function killDescendants(pid: number): void {
  native().rfaas_kill_descendants(pid);
}

/** Takes CPUs that are not among `cpus` from all that a process has started. Returns how many threads had any. */
export function restrictDescendants(pid: number, cpus: readonly number[]): number {
  const list = new Int32Array(new ArrayBuffer(4 * Math.max(1, cpus.length)));
  list.set(cpus);
  return native().rfaas_restrict_descendants(pid, list, cpus.length);
}

/**
 * Puts each thread of a host where it may run: those of a worker, and what they have started, on the worker's own CPUs, the engine's on `all`,
 * and others on no more than these. A worker with an empty mask may run on all. Returns how many threads were moved.
 */
export function placeThreads(
  pid: number,
  all: readonly number[],
  masks: readonly (readonly number[])[],
): number {
  const list = new Int32Array(new ArrayBuffer(4 * Math.max(1, all.length)));
  list.set(all);
  const flat = masks.flatMap((mask) => [mask.length, ...mask]);
  const each = new Int32Array(new ArrayBuffer(4 * Math.max(1, flat.length)));
  each.set(flat);
  return native().rfaas_place_threads(pid, list, all.length, each, masks.length);
}

const LOOK_NUMBERS = 3;

/** What takes as long as there is to see goes on in a thread of its own. A machine without a thread for it finds nothing. */
class Look {
  #look: number;

  protected constructor(look: number) {
    this.#look = look;
  }

  /** The result, once, for which it waits so long; undefined while there is none, and for ever where no thread could be had. */
  protected found(waitUs: number): { numbers: Float64Array; tookMs: number } | undefined {
    if (this.#look === 0) return undefined;
    const numbers = new Float64Array(new ArrayBuffer(8 * (LOOK_NUMBERS + 1)));
    if (native().rfaas_look_take(this.#look as Pointer, waitUs, numbers) === 0) return undefined;
    this.#look = 0;
    return { numbers, tookMs: numbers[LOOK_NUMBERS]! / 1e3 };
  }

  /** The result is left. */
  abandon(): void {
    if (this.#look !== 0) native().rfaas_look_abandon(this.#look as Pointer);
    this.#look = 0;
  }
}

/** A look at what a folder of the disk holds. */
export class FolderLook extends Look {
  /**
   * Of a folder, and of what a process and its descendants have open there that has lost its name. Ends when it has found `mostBytes`; each file costs
   * `perFile` bytes besides its blocks.
   */
  constructor(folder: string, pid: number, perFile: number, mostBytes: number) {
    const path = new TextEncoder().encode(`${folder}\0`);
    super(native().rfaas_folder_look(path, pid, perFile, mostBytes));
  }

  take(waitUs: number): { bytes: number; tookMs: number } | undefined {
    const found = this.found(waitUs);
    return found && { bytes: found.numbers[0]!, tookMs: found.tookMs };
  }
}

/** What the kernel's memory holds for a process and its descendants, in bytes. */
export interface SocketUsage {
  /** Sent to their sockets, and not received. */
  heldBytes: number;
  /** The same, of sockets that no process has open while some are on their way between theirs: theirs, or another's of the same user. */
  inFlightBytes: number;
  /** At most, for what their epoll instances watch. */
  watchBytes: number;
}

/** Without these modules the kernel does not tell what sockets hold; `sockets.c` states their numbers. */
const TELLING = { unix_diag: 1, netlink_diag: 2, tcp_diag: 4, udp_diag: 8 } as const;

/** The modules that this kernel has not and cannot load, for which {@link SocketLook} finds less than there is. */
export function missingSocketModules(): string[] {
  const untold = native().rfaas_sockets_untold();
  return Object.entries(TELLING).flatMap(([module, bit]) => (untold & bit ? [module] : []));
}

/** A look at what sockets hold. */
export class SocketLook extends Look {
  /** Of a process and its descendants. Sums up to `leastBytes` are not looked into; epoll instances are where they may be `many`. */
  constructor(pid: number, leastBytes: number, many: boolean) {
    super(native().rfaas_sockets_look(pid, leastBytes, many ? 1 : 0));
  }

  take(waitUs: number): (SocketUsage & { tookMs: number }) | undefined {
    const found = this.found(waitUs);
    if (!found) return undefined;
    const [heldBytes, inFlightBytes, watchBytes] = found.numbers;
    return {
      ...{ heldBytes: heldBytes!, inFlightBytes: inFlightBytes! },
      ...{ watchBytes: watchBytes!, tookMs: found.tookMs },
    };
  }
}
