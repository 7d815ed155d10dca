/**
 * Bounds hosts by looking at them, where no control group can be had: the agent reads what the kernel says of a host and of all that it has
 * started, the more often the nearer it is to its bound, and ends the lease that has crossed it. Of native memory, RLIMIT_DATA stops the
 * rest (`takeParts` in `host/lease-parts.ts`); the engine's own is reserved beforehand, so that limit does not see it grow.
 */
import { type TreeUsage, treeUsage } from "../../../ffi/children.ts";
import type { Excess } from "../../lease/lease.ts";
import type { Bounds } from "./bounds.ts";
import type { Held, Limiter, Look } from "./limiter.ts";
import { type HostFiles, NO_FILES } from "./scratch.ts";
import { type HostSockets, SocketLooks } from "./sockets.ts";

/** Memory is not written faster than this on one core, and not on more than so many at a time. */
const BYTES_PER_MS = 4 * 2 ** 20;
const MAX_WRITERS = 8;
/** A lease ends before it has so much more than its heap and its registered memory together... */
const OVERSHOOT = 1 / 4;
/** ...of which looking and ending take their part. */
const OVERSHOOT_OF_PAUSE = OVERSHOOT / 2;
/** After it has crossed its bound, the next look is due at the latest. */
const MAX_LATE_MS = 40;
const MIN_PAUSE_MS = 1;
const MAX_PAUSE_MS = 200;
/** While it is being found out what sockets hold. */
const LOOKING_PAUSE_MS = 2;
/** A pause is so many times as long as the look before it: the looks at one lease take no more of the agent's time, however many processes it has. */
const PAUSE_PER_LOOK = 10;

/** What a process and its descendants have; undefined once it is gone. With `exact`, pages that several have count once. */
export type Measure = (pid: number, exact: boolean) => TreeUsage | undefined;

/** Of this thread: where others have the CPUs, a look that takes long has not cost the agent more, and is not to make the next one late. */
const ownCpuMs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
};

export class WatchLimiter implements Limiter {
  readonly name = "watch";
  readonly #measure: Measure;

  readonly #cpuMs: () => number;
  readonly #socketsOf: (pid: number) => HostSockets;

  constructor(
    measure: Measure = treeUsage,
    cpuMs = ownCpuMs,
    socketsOf = (pid: number): HostSockets => new SocketLooks(pid),
  ) {
    this.#measure = measure;
    this.#cpuMs = cpuMs;
    this.#socketsOf = socketsOf;
  }

  hold(pid: number, files?: HostFiles): Held {
    return new WatchedHost(pid, this.#measure, this.#cpuMs, files, this.#socketsOf(pid));
  }

  async close(): Promise<void> {}
}

/** Memory that is not the lease's registered memory: of shared pages the process may have mapped no more than that. */
const heapOf = ({ privateBytes, sharedBytes }: TreeUsage, registeredBytes: number): number =>
  privateBytes + Math.max(0, sharedBytes - registeredBytes);

export class WatchedHost implements Held {
  readonly ready = Promise.resolve();
  readonly #pid: number;
  readonly #measure: Measure;
  readonly #cpuMs: () => number;
  readonly #files: HostFiles;
  readonly #sockets: HostSockets;
  #bounds: Bounds | undefined;
  /** What it had before its first lease. */
  #bareBytes: number | undefined;
  #bareDescriptors = 0;

  constructor(
    pid: number,
    measure: Measure,
    cpuMs: () => number,
    files: HostFiles = NO_FILES,
    sockets: HostSockets = new SocketLooks(pid),
  ) {
    this.#pid = pid;
    this.#sockets = sockets;
    this.#cpuMs = cpuMs;
    this.#files = files;
    this.#measure = measure;
  }

  begin(bounds: Bounds): void {
    this.#bounds = bounds;
    if (this.#bareBytes !== undefined) return;
    const usage = this.#measure(this.#pid, false);
    this.#bareBytes = usage && heapOf(usage, bounds.registeredBytes);
    this.#bareDescriptors = usage?.descriptors ?? 0;
  }

  look(): Look {
    const bounds = this.#bounds;
    const beganMs = this.#cpuMs();
    const usage = bounds && this.#measure(this.#pid, false);
    if (!usage) return { pauseMs: MAX_PAUSE_MS };
    const { tasks, heapBytes } = bounds;
    if (usage.threads > tasks)
      return {
        excess: { what: "tasks", used: usage.threads, bound: tasks },
        pauseMs: MAX_PAUSE_MS,
      };
    const disk = this.#files.diskBytes(heapBytes);
    const files = this.#files.memoryBytes() + disk;
    const sockets = this.#socketBytes(usage, bounds);
    let usedBytes = this.#heapBytes(usage, bounds) + files + sockets;
    // Children that were forked share most pages with their parent.
    const exact = usedBytes > heapBytes && usage.processes > 1 && this.#measure(this.#pid, true);
    if (exact) usedBytes = this.#heapBytes(exact, bounds) + files + sockets;
    const excess: Excess | undefined =
      usedBytes > heapBytes
        ? {
            ...{ what: "heap", used: usedBytes, bound: heapBytes },
            ...(files > 0 && { files }),
            ...(sockets > 0 && { sockets }),
          }
        : undefined;
    const mostMs = this.#sockets.isLooking ? LOOKING_PAUSE_MS : MAX_PAUSE_MS;
    const pauseMs = Math.min(mostMs, this.#pauseMs(usedBytes, bounds));
    // A look at a host alone takes no time of note.
    const leastMs = usage.processes > 1 ? PAUSE_PER_LOOK * (this.#cpuMs() - beganMs) : 0;
    return { excess, pauseMs: Math.max(pauseMs, leastMs) };
  }

  /** However fast it writes from now on, at the next look it has crossed its bound by little, and not for long. */
  #pauseMs(usedBytes: number, bounds: Bounds): number {
    const { heapBytes, registeredBytes, cores } = bounds;
    const bytesPerMs = BYTES_PER_MS * Math.min(MAX_WRITERS, cores);
    const lateMs = (OVERSHOOT_OF_PAUSE * (heapBytes + registeredBytes)) / bytesPerMs;
    const crossesMs = Math.max(0, heapBytes - usedBytes) / bytesPerMs;
    const pauseMs = Math.floor(crossesMs + Math.min(MAX_LATE_MS, lateMs));
    return Math.min(MAX_PAUSE_MS, Math.max(MIN_PAUSE_MS, pauseMs));
  }

  #heapBytes(usage: TreeUsage, { registeredBytes }: Bounds): number {
    return Math.max(0, heapOf(usage, registeredBytes) - (this.#bareBytes ?? 0));
  }

  #socketBytes({ descriptors }: TreeUsage, { heapBytes, registeredBytes }: Bounds): number {
    const matterBytes = OVERSHOOT_OF_PAUSE * (heapBytes + registeredBytes);
    return this.#sockets.bytes(descriptors - this.#bareDescriptors, matterBytes);
  }

  postMortem(): undefined {}

  close(): void {
    this.#files.close();
    this.#sockets.close();
  }
}
