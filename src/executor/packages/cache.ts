/**
 * The packages that a node has. Several nodes of one user may share the folder: a package appears and disappears by one rename.
 *
 *     stored/HASH/manifest   canonical, so that its SHA-256 is HASH
 *     stored/HASH/sender     the user who sent it
 *     stored/HASH/root/      its files; equal files of several packages are one, by hard links
 *     incoming/NODE.N/       what is being uploaded
 *     users/HASH.NODE        a lease of this node uses the package
 */
import { readdirSync, renameSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { PackageInvalid, PackageTooLarge } from "../../base/errors.ts";
import {
  type PackageFile,
  hashOf,
  parseManifest,
  totalBytes,
} from "../../package/contents/manifest.ts";
import type { StoredPackage } from "../../protocol/package-messages.ts";
import { formatBytes } from "../../base/units.ts";
import { openCacheFolder } from "./cache-folder.ts";
import { type EqualFile, IncomingPackage } from "./incoming.ts";
import { type FoundPackage, KnownPackages, isForeign } from "./known.ts";
import { hasContent, openFolder, removeTree, sealFolder } from "./sealing.ts";
import {
  type Bound,
  CacheBounds,
  CacheSpace,
  OWN_USER,
  type PackageUser,
  contentOf,
} from "./space.ts";
import { PackageUsers } from "./users.ts";

export interface PackageCacheOptions {
  /** Default: the user's own cache folder. */
  folder?: string | undefined;
  /** All packages together; the node evicts the least recently used first. Default 8 GiB. */
  limitBytes?: number | undefined;
  /** Those of one user together, but for the node's own user. Default: half of all. */
  userLimitBytes?: number | undefined;
  /** One package. Default 1 GiB. */
  packageLimitBytes?: number | undefined;
  /** Milliseconds of the wall clock. */
  now?: () => number;
  /** Packages that must stay even without a mark, since a mark cannot be written to a full disk. Default: none. */
  isHeld?: (hash: string) => boolean;
}

/** A lease's hold on its package: it stays in the cache until {@link PackageUse.end}. */
export interface PackageUse {
  /** The file to load. */
  path: string;
  /** What its author calls it. */
  name: string;
  end(): void;
}

export const DEFAULT_LIMIT_BYTES = 8 * 1024 ** 3;
export const DEFAULT_PACKAGE_LIMIT_BYTES = 1024 ** 3;

/** An upload, as the cache counts it. */
interface Arriving {
  from: PackageUser;
  /** Of files that have begun to come. */
  bytes: number;
  /** The files that the cache had count for the upload, too. */
  linked: boolean;
}

export class PackageCache {
  readonly #options: PackageCacheOptions;
  readonly #bounds: CacheBounds;
  readonly #packageLimitBytes: number;
  readonly #now: () => number;
  /** Of this node, among those that share the folder. */
  readonly #node = crypto.randomUUID();
  readonly #known = new KnownPackages(
    () => join(this.folder, "stored"),
    (hash) => this.#discard(hash),
  );
  readonly #incoming = new Map<IncomingPackage, Arriving>();
  #opened: { folder: string; users: PackageUsers } | undefined;
  #uploads = 0;

  constructor(options: PackageCacheOptions = {}) {
    this.#options = options;
    this.#bounds = new CacheBounds(
      options.limitBytes ?? DEFAULT_LIMIT_BYTES,
      options.userLimitBytes,
    );
    this.#packageLimitBytes = options.packageLimitBytes ?? DEFAULT_PACKAGE_LIMIT_BYTES;
    this.#now = options.now ?? Date.now;
  }

  /** The cache's folder. Throws {@link EnvironmentError} when no folder is usable. */
  get folder(): string {
    return this.#open().folder;
  }

  /** Holds a package for a lease; undefined when it is not here. */
  use(hash: string): PackageUse | undefined {
    // First the mark, then the look: an evicting node looks at the marks after it has moved the package away.
    this.#users.begin(hash);
    const manifest = this.#known.find(hash)?.manifest;
    if (!manifest) {
      this.#users.end(hash);
      return undefined;
    }
    this.#usedNow(hash);
    let ended = false;
    return {
      path: join(this.#root(hash), manifest.entry),
      name: manifest.name,
      end: () => {
        if (ended) return;
        ended = true;
        this.#usedNow(hash);
        this.#users.end(hash);
      },
    };
  }

  /**
   * Links those of a package's files that the cache has. It takes no room for the others before their bytes come.
   *
   * @throws {PackageInvalid} the manifest is not sound, or not what the hash says
   * @throws {PackageTooLarge} it exceeds the node's bounds, or the packages in use leave no room
   */
  async receive(
    hash: string,
    manifestBytes: Uint8Array,
    from: PackageUser = OWN_USER,
  ): Promise<IncomingPackage> {
    if (hashOf(manifestBytes) !== hash)
      throw new PackageInvalid(
        `the manifest does not have the hash ${hash} that it was sent with; send it again`,
      );
    const manifest = parseManifest(manifestBytes);
    const bytes = totalBytes(manifest);
    const limit = Math.min(this.#packageLimitBytes, this.#bounds.limitBytes);
    if (bytes > limit)
      throw new PackageTooLarge(
        `package ${manifest.name} has ${formatBytes(bytes)}, and the node takes ${formatBytes(limit)}; include less, or raise --package-limit and --cache-limit of rfaas serve`,
      );
    this.#scan();
    const arriving: Arriving = { from, bytes: 0, linked: false };
    const incoming = new IncomingPackage(
      join(this.folder, "incoming", `${this.#node}.${this.#uploads++}`),
      { read: manifest, bytes: manifestBytes },
      from.name,
      {
        coming: (more) => this.#coming(incoming, arriving, more),
        over: (done) => this.#received(hash, incoming, arriving, done),
      },
    );
    this.#incoming.set(incoming, arriving);
    this.#users.keep(incoming.folder);
    await incoming.begin(this.#sources(from));
    try {
      this.#known.space.add(incoming.linked, from.name);
      arriving.linked = true;
      this.#makeRoom(manifest.name, from, 0);
      this.#requireRoom(incoming, from);
    } catch (error) {
      incoming.abandon();
      throw error;
    }
    return incoming;
  }

  /** Whether a package is safe for a user: it is his own, or its files have the bytes that were sent. One that has not is removed. */
  async isSafeFor(hash: string, user: PackageUser): Promise<boolean> {
    const known = this.#known.find(hash);
    if (!known) return false;
    if (!isForeign(known, user)) return true;
    const root = this.#root(hash);
    for (const { path, bytes, sha256 } of known.manifest.files) {
      if (await hasContent(join(root, path), bytes, sha256)) continue;
      this.#discard(hash);
      return false;
    }
    return true;
  }

  /** What is here, the last used first. */
  list(): StoredPackage[] {
    this.#scan();
    const all = [...this.#known].map(([hash, { manifest }]) => ({
      hash,
      name: manifest.name,
      bytes: totalBytes(manifest),
      usedAtMs: this.#usedAtMs(hash),
      leases: this.#users.leases(hash),
    }));
    return all.sort((a, b) => b.usedAtMs - a.usedAtMs);
  }

  /** The `count` packages that were used last. Reads no others, so that it is quick however many there are. */
  recent(count: number): { hash: string; name: string }[] {
    return readdirSync(join(this.folder, "stored"))
      .filter((hash) => /^[0-9a-f]{64}$/.test(hash))
      .map((hash) => ({ hash, usedAtMs: this.#usedAtMs(hash) }))
      .sort((a, b) => b.usedAtMs - a.usedAtMs)
      .slice(0, count)
      .flatMap(({ hash }) => {
        const known = this.#known.read(hash);
        return known ? [{ hash, name: known.manifest.name }] : [];
      });
  }

  /** Removes a package. Returns `"unknown"`, or `"in use"` when a lease has it. */
  remove(hash: string): "removed" | "unknown" | "in use" {
    if (!this.#known.find(hash)) return "unknown";
    return this.#evict(hash) ? "removed" : "in use";
  }

  /** What a lease would load, if it is here whole. */
  find(hash: string): FoundPackage | undefined {
    const known = this.#known.find(hash);
    if (!known) return undefined;
    const { entry, name } = known.manifest;
    return { path: join(this.#root(hash), entry), name, sender: known.sender };
  }

  get #users(): PackageUsers {
    return this.#open().users;
  }

  #open(): { folder: string; users: PackageUsers } {
    if (this.#opened) return this.#opened;
    const folder = openCacheFolder(this.#options.folder);
    const users = new PackageUsers(join(folder, "users"), this.#node, this.#now);
    return (this.#opened = { folder, users });
  }

  /** Removes a damaged package. */
  #discard(hash: string): undefined {
    this.#known.forget(hash);
    this.#takeAway(hash, () => false);
  }

  #scan(): void {
    this.#known.scan(new Set(readdirSync(join(this.folder, "stored"))));
    this.#sweep();
  }

  /** Removes the uploads that ended nodes have left behind. */
  #sweep(): void {
    for (const part of ["incoming", "users"]) {
      for (const name of readdirSync(join(this.folder, part))) {
        const path = join(this.folder, part, name);
        if (this.#users.isAbandoned(path)) removeTree(path);
      }
    }
  }

  /** Takes room for bytes of an upload that have come. */
  #coming(incoming: IncomingPackage, arriving: Arriving, bytes: number): void {
    this.#makeRoom(incoming.manifest.name, arriving.from, bytes);
    arriving.bytes += bytes;
    this.#known.space.count(bytes, arriving.from.name);
  }

  /** Evicts the least recently used packages until `bytes` more fit: the user's own for the user's bound, any for the cache's. */
  #makeRoom(name: string, from: PackageUser, bytes: number): void {
    const over = (): Bound | undefined => this.#bounds.exceeded(this.#known.space, from, bytes);
    if (!over()) return;
    const byAge = [...this.#known]
      .map(([hash, { sender }]) => ({ hash, sender, usedAtMs: this.#usedAtMs(hash) }))
      .sort((a, b) => a.usedAtMs - b.usedAtMs);
    for (const { hash, sender } of byAge) {
      const bound = over();
      if (!bound) return;
      if (bound === "cache" || sender === from.name) this.#evict(hash);
    }
    const bound = over();
    if (bound) throw this.#bounds.refusal(bound, name, from);
  }

  /** Throws where even an empty cache would have no room beside what is in use and what has come of other uploads. */
  #requireRoom({ manifest, missing }: IncomingPackage, from: PackageUser): void {
    const bytes = missing.reduce((sum, index) => sum + manifest.files[index]!.bytes, 0);
    if (!this.#bounds.exceeded(this.#known.space, from, bytes)) return;
    const least = new CacheSpace();
    for (const [hash, { manifest, sender }] of this.#known)
      if (this.#isUsed(hash)) least.add(manifest.files, sender);
    for (const [{ linked }, arriving] of this.#incoming) {
      least.add(linked, arriving.from.name);
      least.count(arriving.bytes, arriving.from.name);
    }
    const bound = this.#bounds.exceeded(least, from, bytes);
    if (bound) throw this.#bounds.refusal(bound, manifest.name, from);
  }

  /** Takes a package out, unless a lease of this node or of another one uses it. */
  #evict(hash: string): boolean {
    if (this.#isUsed(hash)) return false;
    if (!this.#takeAway(hash, () => this.#isUsed(hash))) return false;
    this.#known.forget(hash);
    return true;
  }

  #isUsed(hash: string): boolean {
    return (this.#options.isHeld?.(hash) ?? false) || this.#users.has(hash);
  }

  /** Moves it away by a rename, so that no node finds half of it; moves it back when a lease began to use it meanwhile. */
  #takeAway(hash: string, isUsed: () => boolean): boolean {
    const away = join(this.folder, "incoming", `${this.#node}.${this.#uploads++}.evicted`);
    try {
      openFolder(this.#stored(hash));
      renameSync(this.#stored(hash), away);
    } catch {
      return true;
    }
    if (isUsed()) {
      try {
        renameSync(away, this.#stored(hash));
        sealFolder(this.#stored(hash));
        return false;
      } catch {
        // It is there again already.
      }
    }
    removeTree(away);
    return true;
  }

  /** Finds an equal file in the cache, which the client need not send. */
  #sources(from: PackageUser): (file: PackageFile) => EqualFile | undefined {
    const places = new Map<string, EqualFile>();
    for (const [hash, known] of this.#known) {
      const foreign = isForeign(known, from);
      for (const file of known.manifest.files) {
        const content = contentOf(file);
        // One's own is taken unread.
        if (!foreign || !places.has(content))
          places.set(content, { path: join(this.#root(hash), file.path), foreign });
      }
    }
    return (file) => places.get(contentOf(file));
  }

  #received(hash: string, incoming: IncomingPackage, arriving: Arriving, done: boolean): void {
    if (done) incoming.moveTo(this.#stored(hash));
    this.#incoming.delete(incoming);
    this.#users.leave(incoming.folder);
    const { from, bytes, linked } = arriving;
    if (linked) this.#known.space.drop(incoming.linked, from.name);
    this.#known.space.count(-bytes, from.name);
    if (done) {
      this.#known.stored(hash, incoming.manifest);
      this.#usedNow(hash);
    }
  }

  #usedNow(hash: string): void {
    const at = new Date(this.#now());
    try {
      utimesSync(this.#stored(hash), at, at);
    } catch {
      // Only its age suffers.
    }
  }

  #usedAtMs(hash: string): number {
    return statSync(this.#stored(hash), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  }

  #stored(hash: string): string {
    return join(this.folder, "stored", hash);
  }

  #root(hash: string): string {
    return join(this.#stored(hash), "root");
  }
}
