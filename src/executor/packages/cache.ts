/**
 * The packages that a node has. Several nodes of one user may share the folder: a package appears and disappears by one rename.
 *
 *     stored/HASH/manifest   canonical, so that its SHA-256 is HASH
 *     stored/HASH/root/      its files; equal files of several packages are one, by hard links
 *     incoming/NODE.N/       what is being uploaded
 *     users/HASH.NODE        a lease of this node uses the package
 */
import {
  existsSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from "node:fs";
import { join } from "node:path";
import { PackageInvalid, PackageTooLarge } from "../../base/errors.ts";
import {
  type Manifest,
  type PackageFile,
  hashOf,
  parseManifest,
  totalBytes,
} from "../../package/contents/manifest.ts";
import type { StoredPackage } from "../../protocol/package-messages.ts";
import { formatBytes } from "../../base/units.ts";
import { openCacheFolder } from "./cache-folder.ts";
import { IncomingPackage } from "./incoming.ts";
import { PackageUsers } from "./users.ts";

export interface PackageCacheOptions {
  /** Default: the user's own cache folder. */
  folder?: string | undefined;
  /** All packages together; the node evicts the least recently used first. Default 8 GiB. */
  limitBytes?: number | undefined;
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

export class PackageCache {
  readonly #options: PackageCacheOptions;
  readonly #limitBytes: number;
  readonly #packageLimitBytes: number;
  readonly #now: () => number;
  /** Of this node, among those that share the folder. */
  readonly #node = crypto.randomUUID();
  readonly #known = new Map<string, Manifest>();
  /** Whose files were found to be whole. */
  readonly #whole = new Set<string>();
  readonly #incoming = new Set<IncomingPackage>();
  #opened: { folder: string; users: PackageUsers } | undefined;
  #uploads = 0;

  constructor(options: PackageCacheOptions = {}) {
    this.#options = options;
    this.#limitBytes = options.limitBytes ?? DEFAULT_LIMIT_BYTES;
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
    const manifest = this.#find(hash);
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
   * Makes room for a package, and links those of its files that the cache has.
   *
   * @throws {PackageInvalid} the manifest is not sound, or not what the hash says
   * @throws {PackageTooLarge} it exceeds the node's bounds, or the packages in use leave no room
   */
  async receive(hash: string, manifestBytes: Uint8Array): Promise<IncomingPackage> {
    if (hashOf(manifestBytes) !== hash)
      throw new PackageInvalid(
        `the manifest does not have the hash ${hash} that it was sent with; send it again`,
      );
    const manifest = parseManifest(manifestBytes);
    const bytes = totalBytes(manifest);
    const limit = Math.min(this.#packageLimitBytes, this.#limitBytes);
    if (bytes > limit)
      throw new PackageTooLarge(
        `package ${manifest.name} has ${formatBytes(bytes)}, and the node takes ${formatBytes(limit)}; include less, or raise --package-limit and --cache-limit of rfaas serve`,
      );
    this.#scan();
    this.#makeRoom(manifest);
    const incoming = new IncomingPackage(
      join(this.folder, "incoming", `${this.#node}.${this.#uploads++}`),
      manifest,
      manifestBytes,
      (done) => this.#received(hash, incoming, done),
    );
    this.#incoming.add(incoming);
    this.#users.keep(incoming.folder);
    await incoming.begin(this.#sources());
    return incoming;
  }

  /** What is here, the last used first. */
  list(): StoredPackage[] {
    this.#scan();
    const all = [...this.#known].map(([hash, manifest]) => ({
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
        const manifest = this.#known.get(hash) ?? this.#read(hash);
        return manifest ? [{ hash, name: manifest.name }] : [];
      });
  }

  /** Removes a package. Returns `"unknown"`, or `"in use"` when a lease has it. */
  remove(hash: string): "removed" | "unknown" | "in use" {
    if (!this.#find(hash)) return "unknown";
    return this.#evict(hash) ? "removed" : "in use";
  }

  /** What a lease would load, if it is here whole. */
  find(hash: string): Pick<PackageUse, "path" | "name"> | undefined {
    const manifest = this.#find(hash);
    return manifest && { path: join(this.#root(hash), manifest.entry), name: manifest.name };
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

  #find(hash: string): Manifest | undefined {
    const manifest = this.#known.get(hash) ?? this.#read(hash);
    const there =
      manifest &&
      (this.#whole.has(hash)
        ? existsSync(join(this.#root(hash), manifest.entry))
        : this.#isWhole(hash, manifest));
    if (!there) {
      this.#known.delete(hash);
      this.#whole.delete(hash);
      return undefined;
    }
    this.#whole.add(hash);
    return manifest;
  }

  #read(hash: string): Manifest | undefined {
    let bytes: Buffer;
    try {
      bytes = readFileSync(join(this.#stored(hash), "manifest"));
    } catch {
      return undefined;
    }
    // A power failure may have lost the last writes.
    if (hashOf(bytes) !== hash) return this.#discard(hash);
    const manifest = JSON.parse(bytes.toString("utf8")) as Manifest;
    this.#known.set(hash, manifest);
    return manifest;
  }

  #isWhole(hash: string, manifest: Manifest): boolean {
    const root = this.#root(hash);
    const whole = manifest.files.every(
      ({ path, bytes }) => statSync(join(root, path), { throwIfNoEntry: false })?.size === bytes,
    );
    if (!whole) this.#discard(hash);
    return whole;
  }

  /** Removes a damaged package. */
  #discard(hash: string): undefined {
    this.#known.delete(hash);
    this.#takeAway(hash, () => false);
  }

  #scan(): void {
    const there = new Set(readdirSync(join(this.folder, "stored")));
    for (const hash of this.#known.keys()) if (!there.has(hash)) this.#known.delete(hash);
    for (const hash of there)
      if (/^[0-9a-f]{64}$/.test(hash) && !this.#known.has(hash)) this.#read(hash);
    this.#sweep();
  }

  /** Removes the uploads that ended nodes have left behind. */
  #sweep(): void {
    for (const part of ["incoming", "users"]) {
      for (const name of readdirSync(join(this.folder, part))) {
        const path = join(this.folder, part, name);
        if (this.#users.isAbandoned(path)) rmSync(path, { recursive: true, force: true });
      }
    }
  }

  /** Evicts the least recently used packages until the new one fits. Equal files of several packages count once. */
  #makeRoom(wanted: Manifest): void {
    const references = new Map<string, { bytes: number; count: number }>();
    const add = ({ files }: Manifest): void => {
      for (const file of files) {
        const known = references.get(contentOf(file));
        if (known) known.count++;
        else references.set(contentOf(file), { bytes: file.bytes, count: 1 });
      }
    };
    for (const manifest of this.#known.values()) add(manifest);
    for (const { manifest } of this.#incoming) add(manifest);
    add(wanted);
    let sum = 0;
    for (const { bytes } of references.values()) sum += bytes;
    if (sum <= this.#limitBytes) return;
    const byAge = [...this.#known.keys()]
      .map((hash) => ({ hash, usedAtMs: this.#usedAtMs(hash) }))
      .sort((a, b) => a.usedAtMs - b.usedAtMs);
    for (const { hash } of byAge) {
      const manifest = this.#known.get(hash)!;
      if (!this.#evict(hash)) continue;
      for (const file of manifest.files) {
        const known = references.get(contentOf(file))!;
        if (--known.count === 0) sum -= known.bytes;
      }
      if (sum <= this.#limitBytes) return;
    }
    throw new PackageTooLarge(
      `the node's cache of ${formatBytes(this.#limitBytes)} has no room for package ${wanted.name} beside those in use; release leases, or raise --cache-limit of rfaas serve`,
    );
  }

  /** Takes a package out, unless a lease of this node or of another one uses it. */
  #evict(hash: string): boolean {
    if (this.#isUsed(hash)) return false;
    this.#known.delete(hash);
    this.#whole.delete(hash);
    return this.#takeAway(hash, () => this.#isUsed(hash));
  }

  #isUsed(hash: string): boolean {
    return (this.#options.isHeld?.(hash) ?? false) || this.#users.has(hash);
  }

  /** Moves it away by a rename, so that no node finds half of it; moves it back when a lease began to use it meanwhile. */
  #takeAway(hash: string, isUsed: () => boolean): boolean {
    const away = join(this.folder, "incoming", `${this.#node}.${this.#uploads++}.evicted`);
    try {
      renameSync(this.#stored(hash), away);
    } catch {
      return true;
    }
    if (isUsed()) {
      try {
        renameSync(away, this.#stored(hash));
        return false;
      } catch {
        // It is there again already.
      }
    }
    rmSync(away, { recursive: true, force: true });
    return true;
  }

  /** Finds an equal file in the cache, which the client need not send. */
  #sources(): (file: PackageFile) => string | undefined {
    const places = new Map<string, string>();
    for (const [hash, { files }] of this.#known)
      for (const file of files) places.set(contentOf(file), join(this.#root(hash), file.path));
    return (file) => places.get(contentOf(file));
  }

  #received(hash: string, incoming: IncomingPackage, done: boolean): void {
    if (done) incoming.moveTo(this.#stored(hash));
    this.#incoming.delete(incoming);
    this.#users.leave(incoming.folder);
    if (done) {
      this.#known.set(hash, incoming.manifest);
      this.#whole.add(hash);
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

/** Hard links share the permissions too. */
function contentOf({ sha256, executable }: PackageFile): string {
  return executable ? `${sha256}x` : sha256;
}
