/**
 * The packages of a node, as its agent sees them. The agent marks which packages its leases use and looks whether one is there, if it
 * is small or was there before; everything else about files is done by a thread, which starts when it is first needed.
 */
import { existsSync, statSync, utimesSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Worker } from "node:worker_threads";
import { EnvironmentError, RfaasError } from "../../base/errors.ts";
import type { StoredPackage } from "../../protocol/package-messages.ts";
import { shortageOfDescriptors } from "../../base/shortage.ts";
import { startPackageThread } from "../../base/workers.ts";
import { openCacheFolder } from "./cache-folder.ts";
import { PackageCache, type PackageCacheOptions, type PackageUse } from "./cache.ts";
import type { PackageAnswer, PackageOrderName, PackageOrders, Progress } from "./orders.ts";
import { type FoundPackage, isForeign } from "./known.ts";
import type { PackageUser } from "./space.ts";
import { PackageUsers } from "./users.ts";

/** What a thread opens for itself, and some files. */
const THREAD_DESCRIPTORS = 16;

/** With two hundred files or less: looked for on the spot, in less time than a thread takes to start. */
const SMALL_MANIFEST_BYTES = 32 * 1024;

/** A failure of the thread that has a code of ours. */
class PackageFailure extends RfaasError {
  override readonly name = "PackageFailure";
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** A package that is taken in. */
export interface Upload {
  /** What its author calls it. */
  readonly name: string;
  /** Indices of the files whose bytes must be sent, in this order. */
  readonly missing: readonly number[];
  /** Writes the next bytes, one call after another; they are moved, not copied. */
  write(bytes: Uint8Array): Promise<Progress>;
  /** All is here: it appears in the cache. When that fails it may be abandoned. */
  finish(): Promise<void>;
  /** Abandons the upload, and removes what has come of it. */
  abandon(): Promise<void>;
}

export class PackageStore {
  readonly #options: PackageStoreOptions;
  readonly #found = new Map<string, FoundPackage>();
  /** Those that were read for another user than their sender, and are as they were sent. */
  readonly #checked = new Set<string>();
  #opened: { folder: string; users: PackageUsers; cache: PackageCache } | undefined;
  #thread: PackageThread | undefined;

  constructor(options: PackageStoreOptions = {}) {
    this.#options = options;
  }

  /** The cache's folder. Throws {@link EnvironmentError} when no folder is usable. */
  get folder(): string {
    return this.#open().folder;
  }

  /**
   * Holds a package for a lease; undefined when it is not here. For another user than its sender, whose functions may have changed it,
   * it is read once and compared with what was sent: from then on what holds functions off the cache is what keeps it.
   */
  async use(hash: string, user: PackageUser): Promise<PackageUse | undefined> {
    const { users } = this.#open();
    // First the mark, then the look: an evicting node looks at the marks after it has moved the package away.
    users.begin(hash);
    let found: FoundPackage | undefined;
    try {
      found = this.#here(hash) ?? (await this.#find(hash));
      if (found && !(await this.#isSafe(hash, found, user))) found = undefined;
    } finally {
      if (!found) users.end(hash);
    }
    if (!found) return undefined;
    this.#usedNow(hash);
    let ended = false;
    return {
      ...found,
      end: () => {
        if (ended) return;
        ended = true;
        this.#usedNow(hash);
        users.end(hash);
      },
    };
  }

  /** Whether it is here. */
  async has(hash: string): Promise<boolean> {
    return (this.#here(hash) ?? (await this.#find(hash))) !== undefined;
  }

  /**
   * Links those of a package's files that the cache has; the others take room as they come.
   *
   * @throws {RfaasError} it is not sound, or too large
   */
  async receive(hash: string, manifest: Uint8Array, from: PackageUser): Promise<Upload> {
    const thread = this.#running();
    const order = { hash, manifest, held: this.#held(), from };
    const { upload, name, missing } = await thread.order("receive", order, [manifest]);
    return {
      name,
      missing,
      write: (bytes) => thread.order("write", { upload, bytes }, [bytes]),
      finish: async () => {
        this.#found.set(hash, await thread.order("finish", { upload }));
      },
      abandon: async () => void (await thread.order("abandon", { upload })),
    };
  }

  /** What is here, the last used first. */
  async list(): Promise<StoredPackage[]> {
    const { users } = this.#open();
    const all = await this.#running().order("list", {});
    return all.map((stored) => ({ ...stored, leases: users.leases(stored.hash) }));
  }

  /** Removes a package. Returns `"unknown"`, or `"in use"` when a lease has it. */
  async remove(hash: string): Promise<"removed" | "unknown" | "in use"> {
    return await this.#running().order("remove", { hash, held: this.#held() });
  }

  #open(): { folder: string; users: PackageUsers; cache: PackageCache } {
    if (this.#opened) return this.#opened;
    const folder = openCacheFolder(this.#options.folder);
    const users = new PackageUsers(join(folder, "users"), crypto.randomUUID(), Date.now);
    const cache = new PackageCache({ folder: dirname(folder) });
    return (this.#opened = { folder, users, cache });
  }

  #running(): PackageThread {
    // The same folder as ours, even when the environment has changed meanwhile.
    const folder = dirname(this.folder);
    if (this.#thread && !this.#thread.ended) return this.#thread;
    const why = shortageOfDescriptors("the node", THREAD_DESCRIPTORS);
    if (why) throw new EnvironmentError(`the node cannot start its thread for packages: ${why}`);
    const { warn: _, ...bounds } = this.#options;
    return (this.#thread = new PackageThread({ ...bounds, folder }));
  }

  /** One that was here, and still is. */
  #here(hash: string): FoundPackage | undefined {
    const found = this.#found.get(hash);
    if (found && !existsSync(found.path)) this.#found.delete(hash);
    return this.#found.get(hash);
  }

  async #find(hash: string): Promise<FoundPackage | undefined> {
    const { folder, cache } = this.#open();
    const manifest = statSync(join(folder, "stored", hash, "manifest"), { throwIfNoEntry: false });
    if (!manifest) return undefined;
    const found =
      manifest.size <= SMALL_MANIFEST_BYTES
        ? cache.find(hash)
        : await this.#running().order("find", { hash });
    if (found) this.#found.set(hash, found);
    return found ?? undefined;
  }

  async #isSafe(hash: string, found: FoundPackage, user: PackageUser): Promise<boolean> {
    if (!isForeign(found, user) || this.#checked.has(hash)) return true;
    const safe = await this.#running().order("check", { hash, user });
    if (safe) this.#checked.add(hash);
    else {
      this.#found.delete(hash);
      this.#options.warn?.(
        `package ${found.name} (${hash.slice(0, 12)}), sent by ${found.sender || "the node's own user"}, was changed in the cache, and is removed`,
      );
    }
    return safe;
  }

  #held(): string[] {
    return this.#open().users.held();
  }

  #usedNow(hash: string): void {
    const at = new Date();
    try {
      utimesSync(join(this.folder, "stored", hash), at, at);
    } catch {
      // Only its age suffers.
    }
  }
}

export type PackageThreadOptions = Pick<
  PackageCacheOptions,
  "folder" | "limitBytes" | "userLimitBytes" | "packageLimitBytes"
>;

export interface PackageStoreOptions extends PackageThreadOptions {
  /** Told of what the node's operator should know. */
  warn?: (message: string) => void;
}

/** The thread, with the orders that it has not answered. */
class PackageThread {
  /** The thread has failed. */
  ended = false;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #nextId = 1;

  constructor(cache: PackageThreadOptions) {
    this.#worker = startPackageThread({ cache });
    this.#worker.on("message", (answer: PackageAnswer) => this.#answered(answer));
    this.#worker.on("error", (error: Error) => this.#end(error.message));
    this.#worker.on("exit", () => this.#end("it ended"));
    this.#worker.unref();
  }

  /** Transfers `moved` to the thread; the caller can no longer use it. */
  async order<Name extends PackageOrderName>(
    name: Name,
    order: PackageOrders[Name][0],
    moved: readonly Uint8Array[] = [],
  ): Promise<PackageOrders[Name][1]> {
    if (this.ended) throw threadFailure("it ended");
    const id = this.#nextId++;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(id, waiting);
    this.#worker.postMessage(
      { id, name, order },
      moved.map(({ buffer }) => buffer as ArrayBuffer),
    );
    return (await waiting.promise) as PackageOrders[Name][1];
  }

  #answered(answer: PackageAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if ("result" in answer) return waiting?.resolve(answer.result);
    const { isOurs, code, message } = answer.failure;
    waiting?.reject(
      isOurs ? new PackageFailure(code!, message) : Object.assign(new Error(message), { code }),
    );
  }

  #end(reason: string): void {
    this.ended = true;
    for (const { reject } of this.#waiting.values()) reject(threadFailure(reason));
    this.#waiting.clear();
  }
}

function threadFailure(reason: string): EnvironmentError {
  return new EnvironmentError(
    `the node's thread for packages failed (${reason}); try again, and see the node's log`,
  );
}
