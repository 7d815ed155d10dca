/** The packages that a cache's folder has, as far as they were looked at, and what they take. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Manifest, hashOf } from "../../package/contents/manifest.ts";
import { CacheSpace, type PackageUser } from "./space.ts";

/** What a lease needs of a package. */
export interface FoundPackage {
  /** The file to load. */
  path: string;
  /** What its author calls it. */
  name: string;
  /** Who sent it; undefined where the cache does not say. */
  sender: string | undefined;
}

/** A package that is stored. */
export interface Known {
  manifest: Manifest;
  /** Undefined where the cache does not say. */
  sender: string | undefined;
}

/** Whether the user is not the one who sent it, or may not be. */
export function isForeign({ sender }: Pick<Known, "sender">, user: PackageUser): boolean {
  return user.shared || sender !== user.name;
}

export class KnownPackages {
  /** What the known ones take, and what the cache adds for uploads. */
  readonly space = new CacheSpace();
  readonly #folder: () => string;
  readonly #discard: (hash: string) => void;
  readonly #known = new Map<string, Known>();
  /** Whose files were found to be whole. */
  readonly #whole = new Set<string>();

  /** `folder` has the packages; `discard` removes one that is damaged. */
  constructor(folder: () => string, discard: (hash: string) => void) {
    this.#folder = folder;
    this.#discard = discard;
  }

  [Symbol.iterator](): MapIterator<[hash: string, known: Known]> {
    return this.#known.entries();
  }

  /** Looks at those that it has not looked at, and forgets those that are gone. */
  scan(there: ReadonlySet<string>): void {
    for (const hash of [...this.#known.keys()]) if (!there.has(hash)) this.forget(hash);
    for (const hash of there) if (/^[0-9a-f]{64}$/.test(hash)) this.read(hash);
  }

  /** Undefined where it is not there whole. */
  find(hash: string): Known | undefined {
    const known = this.read(hash);
    const there =
      known &&
      (this.#whole.has(hash)
        ? existsSync(join(this.#folder(), hash, "root", known.manifest.entry))
        : this.#isWhole(hash, known.manifest));
    if (!there) {
      this.forget(hash);
      return undefined;
    }
    this.#whole.add(hash);
    return known;
  }

  /** Its files may be damaged. */
  read(hash: string): Known | undefined {
    const known = this.#known.get(hash);
    if (known) return known;
    let bytes: Buffer;
    try {
      bytes = readFileSync(join(this.#folder(), hash, "manifest"));
    } catch {
      return undefined;
    }
    // A power failure may have lost the last writes.
    if (hashOf(bytes) !== hash) {
      this.#discard(hash);
      return undefined;
    }
    const manifest = JSON.parse(bytes.toString("utf8")) as Manifest;
    return this.#keep(hash, { manifest, sender: this.#senderOf(hash) });
  }

  /** It was stored a moment ago. */
  stored(hash: string, manifest: Manifest): void {
    this.forget(hash);
    this.#keep(hash, { manifest, sender: this.#senderOf(hash) });
    this.#whole.add(hash);
  }

  forget(hash: string): void {
    const known = this.#known.get(hash);
    if (known) this.space.drop(known.manifest.files, known.sender);
    this.#known.delete(hash);
    this.#whole.delete(hash);
  }

  #keep(hash: string, known: Known): Known {
    this.#known.set(hash, known);
    this.space.add(known.manifest.files, known.sender);
    return known;
  }

  #senderOf(hash: string): string | undefined {
    try {
      return readFileSync(join(this.#folder(), hash, "sender"), "utf8");
    } catch {
      return undefined;
    }
  }

  #isWhole(hash: string, manifest: Manifest): boolean {
    const root = join(this.#folder(), hash, "root");
    const whole = manifest.files.every(
      ({ path, bytes }) => statSync(join(root, path), { throwIfNoEntry: false })?.size === bytes,
    );
    if (!whole) this.#discard(hash);
    return whole;
  }
}
