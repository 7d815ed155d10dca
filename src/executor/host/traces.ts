/**
 * What functions have left behind in their process: child processes, threads of libraries, signal handlers, open files and sockets. What
 * was there before the module loaded is not theirs. What a thread's own engine knows of it is found there (`worker/traces.ts`).
 */
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { hasChildren } from "../../../ffi/children.ts";
import { isEngines, nameOf } from "../machine/helper-threads.ts";

const FDS = "/proc/self/fd";
const THREADS = "/proc/self/task";
const STATUS = "/proc/self/status";
/** What the runtime opens when it first needs it, and keeps. */
const RUNTIMES = /^anon_inode:\[(eventpoll|eventfd|timerfd|io_uring)\]$/;

/** The thread that the first `fetch` starts, and that stays: what it has going on has an open socket, or a promise. */
const RUNTIMES_THREAD = "HTTP Client";

const LOOKS = 4;
const PAUSE_MS = 5;

export class ProcessTraces {
  /** Where each descriptor led to. */
  readonly #fds = new Map<string, string>();
  readonly #threads: Set<string>;
  readonly #signals: string;

  /** To be made before the module loads. */
  constructor() {
    for (const fd of readdirSync(FDS)) {
      const target = targetOf(fd);
      if (target !== undefined) this.#fds.set(fd, target);
    }
    this.#threads = new Set(readdirSync(THREADS));
    this.#signals = signals();
  }

  /** Some of what was there is closed: its numbers may be given to others. */
  prune(): void {
    for (const [fd, target] of this.#fds) if (targetOf(fd) !== target) this.#fds.delete(fd);
  }

  /**
   * What is still there, in words; null where nothing was found. `own` are descriptors of the lease. It looks several times at what it
   * finds: a thread that starts has its creator's name at first, and what ends may take a moment.
   */
  async left(own: readonly number[]): Promise<string | null> {
    const ours = new Set(own.map(String));
    try {
      for (let looks = 1; ; looks++) {
        const found = this.#left(ours);
        if (found === null || looks === LOOKS) return found;
        await Bun.sleep(PAUSE_MS);
      }
    } catch {
      return "something that cannot be seen without /proc";
    }
  }

  #left(own: ReadonlySet<string>): string | null {
    if (hasChildren()) return "a child process";
    if (signals() !== this.#signals) return "a signal handler";
    for (const thread of readdirSync(THREADS)) {
      if (this.#threads.has(thread)) continue;
      const name = nameOf(thread);
      if (name !== "" && name !== RUNTIMES_THREAD && !isEngines(thread))
        return `a thread (${name})`;
    }
    for (const fd of readdirSync(FDS)) {
      if (this.#fds.has(fd) || own.has(fd)) continue;
      const target = targetOf(fd);
      if (target !== undefined && !RUNTIMES.test(target))
        return `an open file or socket (${target})`;
    }
    return null;
  }
}

/** Those that are handled or ignored. A thread's `process.on` reaches none of them: native code does. */
function signals(): string {
  return readFileSync(STATUS, "latin1")
    .match(/^Sig(?:Ign|Cgt):.*$/gm)!
    .join();
}

/** Undefined for one that is closed. */
function targetOf(fd: string): string | undefined {
  try {
    return readlinkSync(`${FDS}/${fd}`);
  } catch {
    return undefined;
  }
}
