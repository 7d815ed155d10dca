/**
 * The folders of hosts: each has one of its own, with the package that it loads and a scratch folder, from its start to its end. Those of
 * a node that was killed are removed by the next one that has the same folder.
 */
import {
  chmodSync,
  chownSync,
  copyFileSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
} from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { EnvironmentError } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";
import type { RoomFolders } from "./driver.ts";
import { Removals } from "./removals.ts";

/** So many files are linked before the agent looks at its clients again: less than a millisecond. */
const LINKED_AT_ONCE = 64;

/** A package in the cache: `HASH/root/`, and below it its files. */
const IN_CACHE = /^(.*\/[0-9a-f]{64}\/root)\//;

/** By this process. */
let made = 0;

export class Rooms {
  readonly #places: readonly string[];
  readonly #owner = ownerName(process.pid);
  readonly #passable: boolean;
  readonly #removals: Removals;
  /** The place that is used. */
  #folder: string | undefined;

  /**
   * The first of these folders that can be had is made when the first room is. `passable`: hosts are other users, who find their own
   * folders without a way through this one. `warn` hears what to do of what cannot be removed.
   */
  constructor(places: readonly string[], passable = false, warn?: (message: string) => void) {
    this.#places = places;
    this.#passable = passable;
    this.#removals = new Removals(warn);
  }

  /** Resolves when the folders of all rooms that are over are removed, or that takes too long. */
  finish(): Promise<void> {
    return this.#removals.finish();
  }

  /** Throws {@link EnvironmentError} where no folder can be had. */
  make(): Room {
    if (this.#folder !== undefined) return this.#makeIn(this.#folder);
    let first: unknown;
    for (const place of this.#places) {
      try {
        const room = this.#makeIn(place);
        this.#folder = place;
        return room;
      } catch (error) {
        first ??= error;
      }
    }
    throw first;
  }

  #makeIn(folder: string): Room {
    try {
      if (this.#folder === undefined)
        for (const left of open(folder)) void this.#removals.remove(left);
      return new Room(join(folder, `${this.#owner}-${made++}`), this.#passable, this.#removals);
    } catch (cause) {
      throw new EnvironmentError(
        `no folder for a host can be made in ${folder}: ${reasonOf(cause)}; let the node have a folder that it can write (rfaas serve --state DIR), with room`,
        { cause },
      );
    }
  }
}

/** Makes the folder, and returns what nodes of this machine have left there that were killed. */
function open(folder: string): string[] {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // That of another user it may not, nor what a link of another one leads to.
  if (lstatSync(folder).uid !== process.getuid!()) throw new Error("it belongs to another user");
  chmodSync(folder, 0o700);
  return readdirSync(folder).flatMap((name) => {
    const [, owner, pid] = /^(.+-(\d+)-\d+)-\d+$/.exec(name) ?? [];
    // A node of another machine may have the folder, too.
    if (owner === undefined || !owner.startsWith(`${HOST}-`)) return [];
    return owner === ownerName(Number(pid)) ? [] : [join(folder, name)];
  });
}

export class Room {
  readonly folders: RoomFolders;
  readonly #folder: string;
  readonly #mode: number;
  readonly #removals: Removals;

  constructor(folder: string, passable: boolean, removals: Removals) {
    this.#folder = folder;
    this.#removals = removals;
    this.#mode = passable ? 0o755 : 0o700;
    this.folders = { package: join(folder, "package"), scratch: join(folder, "scratch") };
    makeFolder(folder, this.#mode);
    makeFolder(this.folders.package, this.#mode);
    mkdirSync(this.folders.scratch, { mode: 0o700 });
  }

  /** The scratch folder is a user's from now on, and the group's of the same number. All else stays the node's, to be read. */
  giveTo(uid: number): void {
    chownSync(this.folders.scratch, uid, uid);
  }

  /**
   * Links a package of the cache into the room, and returns the path of the file at `path` below the room's folder for packages. A module
   * that is in no package has none, and needs none.
   */
  async admit(path: string): Promise<string | undefined> {
    const [, root] = IN_CACHE.exec(path) ?? [];
    if (root === undefined) return undefined;
    const own = join(basename(dirname(root)), "root");
    await linkAll(root, join(this.folders.package, own), this.#mode);
    return join(own, relative(root, path));
  }

  /** Resolves when it is removed, or cannot be. Never rejects. */
  remove(): Promise<void> {
    return this.#removals.remove(this.#folder);
  }
}

/** Whatever the node's umask is. */
function makeFolder(path: string, mode: number): void {
  if (mkdirSync(path, { recursive: true, mode }) !== undefined) chmodSync(path, mode);
}

async function linkAll(from: string, to: string, mode: number): Promise<void> {
  makeFolder(dirname(to), mode);
  makeFolder(to, mode);
  let linked = 0;
  for (const entry of readdirSync(from, { recursive: true, withFileTypes: true })) {
    const source = join(entry.parentPath, entry.name);
    const target = join(to, relative(from, source));
    // A folder comes before what is in it.
    if (entry.isDirectory()) makeFolder(target, mode);
    else linkOrCopy(source, target);
    if (++linked % LINKED_AT_ONCE === 0) await Bun.sleep(0);
  }
}

/** Another build of a module may have files of the one before. */
function linkOrCopy(source: string, target: string): void {
  try {
    linkSync(source, target);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return;
    // Another file system, or one without links, or one link too many.
    if (code !== "EXDEV" && code !== "EPERM" && code !== "EMLINK") throw error;
    copyFileSync(source, target);
  }
}

const HOST = hostname();

/** Names a process of this machine: its pid, and since when it runs, as pids come again. */
function ownerName(pid: number): string | undefined {
  try {
    const line = readFileSync(`/proc/${pid}/stat`, "latin1");
    const started = line.slice(line.lastIndexOf(")") + 2).split(" ")[19];
    return `${HOST}-${pid}-${started}`;
  } catch {
    return undefined;
  }
}
