/**
 * Bounds hosts by control groups of both versions: the kernel itself ends what has more memory than its group, and starts nothing beyond
 * its number of processes. A host is moved into a group of its own when it is ready, so what it had before is its node's; moving takes
 * the kernel 10 ms, in a thread of its own, before any lease waits for the host.
 */
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Group, groups, number, readText } from "../../base/machine/cgroup.ts";
import type { Excess } from "../../lease/lease.ts";
import type { Bounds } from "./bounds.ts";
import type { Held, Limiter, Look } from "./limiter.ts";
import { type HostFiles, NO_FILES } from "./scratch.ts";

/** The kernel has ended a process of the group already: this only finds out. */
const PAUSE_MS = 25;
/** A group can be removed when the last of its processes has been waited for. */
const REMOVE_TRIES = 100;
const REMOVE_PAUSE_MS = 20;
const PREFIX = "rfaas-";

/** What a version calls the files of a group. */
interface Files {
  version: 1 | 2;
  usage: string;
  limit: string;
  peak: string;
  /** Counts what the kernel has ended for lack of memory. */
  ended: string;
  /** What else is written to bound it. */
  also: Readonly<Record<string, string>>;
}

const VERSION_1: Files = {
  version: 1,
  usage: "memory.usage_in_bytes",
  limit: "memory.limit_in_bytes",
  peak: "memory.max_usage_in_bytes",
  ended: "memory.oom_control",
  also: {},
};
const VERSION_2: Files = {
  version: 2,
  usage: "memory.current",
  limit: "memory.max",
  peak: "memory.peak",
  ended: "memory.events",
  // All of a lease ends, not the largest of its processes alone, and nothing of it goes to swap.
  also: { "memory.oom.group": "1", "memory.swap.max": "0" },
};

/** Where groups of hosts are made. */
interface Place {
  files: Files;
  memory: string;
  /** The same folder in the second version. Undefined where the number of processes is not bounded. */
  tasks: string | undefined;
}

export class CgroupLimiter implements Limiter {
  readonly name: Limiter["name"];
  readonly #place: Place;
  readonly #closing = new Set<Promise<void>>();
  #made = 0;

  private constructor(place: Place) {
    this.#place = place;
    this.name = `cgroup${place.files.version}`;
  }

  /**
   * By the first of these groups in which others can be made; undefined where there is none, or its kernel bounds no memory there. The
   * node's own folder is made at once.
   */
  static in(all: readonly Group[] = groups("/")): CgroupLimiter | undefined {
    for (const open of [openVersion2, openVersion1]) {
      try {
        const place = open(all);
        if (place) return new CgroupLimiter(place);
      } catch {
        // It may not be written, or is not as its kernel usually has it.
      }
    }
    return undefined;
  }

  hold(pid: number, files: HostFiles = NO_FILES): Held {
    const name = `host-${this.#made++}`;
    const { memory, tasks } = this.#place;
    const place = { ...this.#place, memory: join(memory, name), tasks: tasks && join(tasks, name) };
    return new GroupedHost(pid, place, files, (removed) => {
      this.#closing.add(removed);
      void removed.then(() => this.#closing.delete(removed));
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#closing);
    for (const folder of foldersOf(this.#place)) await remove(folder);
  }
}

const foldersOf = ({ memory, tasks }: Place): string[] => [
  ...new Set([memory, ...(tasks === undefined ? [] : [tasks])]),
];

class GroupedHost implements Held {
  readonly ready: Promise<void>;
  readonly #place: Place;
  readonly #files: HostFiles;
  readonly #removing: (removed: Promise<void>) => void;
  #bounds: Bounds | undefined;
  #bareBytes: number | undefined;

  constructor(
    pid: number,
    place: Place,
    files: HostFiles,
    removing: (removed: Promise<void>) => void,
  ) {
    this.#place = place;
    this.#files = files;
    this.#removing = removing;
    this.ready = this.#enter(pid);
  }

  async #enter(pid: number): Promise<void> {
    try {
      for (const folder of foldersOf(this.#place)) {
        mkdirSync(folder);
        await writeFile(join(folder, "cgroup.procs"), String(pid));
      }
    } catch {
      // It is gone, which its exit tells.
    }
  }

  begin(bounds: Bounds): void {
    this.#bounds = bounds;
    const { files, memory, tasks } = this.#place;
    this.#bareBytes ??= this.#number(files.usage) ?? 0;
    const { heapBytes, registeredBytes } = bounds;
    // Pages of the registered memory count for who writes them first, be it the host.
    const limit = this.#bareBytes + heapBytes + registeredBytes;
    try {
      for (const [name, value] of Object.entries(files.also))
        if (existsSync(join(memory, name))) writeFileSync(join(memory, name), value);
      writeFileSync(join(memory, files.limit), String(limit));
      if (tasks !== undefined) writeFileSync(join(tasks, "pids.max"), String(bounds.tasks));
    } catch {
      // The group is gone with its host.
    }
  }

  look(): Look {
    return { excess: this.postMortem() ?? this.#filesExcess(), pauseMs: PAUSE_MS };
  }

  /** What it has in memory, its files there among it, is in the group; what is on the disk is not. */
  #filesExcess(): Excess | undefined {
    if (!this.#bounds) return undefined;
    const { heapBytes: bound } = this.#bounds;
    const files = this.#files.diskBytes(bound);
    return files > bound ? { what: "heap", used: files, bound, files } : undefined;
  }

  postMortem(): Excess | undefined {
    if (!this.#bounds) return undefined;
    const { files, memory } = this.#place;
    const events = readText(join(memory, files.ended)) ?? "";
    if (!/^oom_kill [1-9]/m.test(events)) return undefined;
    const { heapBytes } = this.#bounds;
    const peakBytes = (this.#number(files.peak) ?? 0) - this.#bareBytes!;
    return { what: "heap", used: Math.max(peakBytes, heapBytes), bound: heapBytes };
  }

  #number(name: string): number | undefined {
    return number(readText(join(this.#place.memory, name)));
  }

  close(): void {
    this.#files.close();
    const entered = this.ready;
    const folders = foldersOf(this.#place);
    this.#removing(entered.then(() => Promise.all(folders.map(remove))).then(() => {}));
  }
}

function openVersion1(all: readonly Group[]): Place | undefined {
  const own = (controller: string): string | undefined =>
    all.find(({ version, controllers }) => version === 1 && controllers.includes(controller))
      ?.folders[0];
  const [memory, tasks] = [own("memory"), own("pids")];
  if (memory === undefined) return undefined;
  return {
    files: VERSION_1,
    memory: makeOwn(memory),
    tasks: tasks === undefined ? undefined : makeOwn(tasks),
  };
}

/** A group with groups beneath it that are bounded has no processes of its own: the agent goes into one of them. */
function openVersion2(all: readonly Group[]): Place | undefined {
  const folder = all.find(({ version }) => version === 2)?.folders[0];
  if (folder === undefined) return undefined;
  const has = (name: string): string[] =>
    readFileSync(join(folder, name), "utf8").trim().split(" ");
  if (!has("cgroup.controllers").includes("memory")) return undefined;
  const others = readFileSync(join(folder, "cgroup.procs"), "utf8").trim().split("\n");
  if (!has("cgroup.subtree_control").includes("memory")) {
    if (others.some((pid) => pid !== "" && Number(pid) !== process.pid)) return undefined;
    const agent = join(folder, "agent");
    mkdirSync(agent, { recursive: true });
    writeFileSync(join(agent, "cgroup.procs"), String(process.pid));
    writeFileSync(join(folder, "cgroup.subtree_control"), "+memory +pids");
  }
  const own = makeOwn(folder);
  writeFileSync(join(own, "cgroup.subtree_control"), "+memory +pids");
  return { files: VERSION_2, memory: own, tasks: own };
}

/** A group for this node's hosts, beneath its own. Those of nodes that were killed are removed. */
function makeOwn(folder: string): string {
  for (const name of readdirSync(folder)) {
    const [, pid] = /^rfaas-(\d+)-\d+$/.exec(name) ?? [];
    if (pid !== undefined && name !== ownName(Number(pid))) removeDead(join(folder, name));
  }
  const own = join(folder, ownName(process.pid)!);
  mkdirSync(own, { recursive: true });
  return own;
}

function removeDead(folder: string): void {
  try {
    for (const entry of readdirSync(folder, { withFileTypes: true }))
      if (entry.isDirectory()) rmdirSync(join(folder, entry.name));
    rmdirSync(folder);
  } catch {
    // A process of a host still ends, or another node removes it, too.
  }
}

async function remove(folder: string): Promise<void> {
  for (let tries = 0; tries < REMOVE_TRIES && existsSync(folder); tries++) {
    try {
      return rmdirSync(folder);
    } catch {
      await Bun.sleep(REMOVE_PAUSE_MS);
    }
  }
}

/** Of a process by its number, and since when it runs, as numbers come again. */
function ownName(pid: number): string | undefined {
  const line = readText(`/proc/${pid}/stat`);
  const started = line?.slice(line.lastIndexOf(")") + 2).split(" ")[19];
  return started === undefined ? undefined : `${PREFIX}${pid}-${started}`;
}
