/** What packages take in the cache. Equal files of several packages are one, so they count once: in all, and for each user. */
import { PackageTooLarge } from "../../base/errors.ts";
import { formatBytes } from "../../base/units.ts";
import type { PackageFile } from "../../package/contents/manifest.ts";

/** Who sends a package, or uses it. */
export interface PackageUser {
  /** Empty for the node's own user, whose packages have no bound but the cache's. */
  name: string;
  /** It stands for several people, of whom none is to trust another. */
  shared: boolean;
}

export const OWN_USER: PackageUser = { name: "", shared: false };

export class CacheSpace {
  readonly #all = new Contents();
  readonly #ofUser = new Map<string, Contents>();

  /** All of it. */
  get bytes(): number {
    return this.#all.bytes;
  }

  /** What one user has sent. */
  bytesOf(user: string): number {
    return this.#ofUser.get(user)?.bytes ?? 0;
  }

  add(files: readonly PackageFile[], user: string | undefined): void {
    for (const file of files) this.#each(user, (contents) => contents.add(file));
  }

  drop(files: readonly PackageFile[], user: string | undefined): void {
    for (const file of files) this.#each(user, (contents) => contents.drop(file));
    if (user !== undefined && this.#ofUser.get(user)?.empty) this.#ofUser.delete(user);
  }

  /** Bytes of a file that is on its way; with a negative number they are gone, or have become a file. */
  count(bytes: number, user: string | undefined): void {
    this.#each(user, (contents) => (contents.bytes += bytes));
    if (user !== undefined && this.#ofUser.get(user)?.empty) this.#ofUser.delete(user);
  }

  #each(user: string | undefined, act: (contents: Contents) => void): void {
    act(this.#all);
    if (user === undefined) return;
    let own = this.#ofUser.get(user);
    if (!own) this.#ofUser.set(user, (own = new Contents()));
    act(own);
  }
}

/** Files by what is in them, with how many packages have each. */
class Contents {
  readonly #packages = new Map<string, number>();
  bytes = 0;

  get empty(): boolean {
    return this.bytes === 0 && this.#packages.size === 0;
  }

  add(file: PackageFile): void {
    const content = contentOf(file);
    const packages = this.#packages.get(content) ?? 0;
    this.#packages.set(content, packages + 1);
    if (packages === 0) this.bytes += file.bytes;
  }

  drop(file: PackageFile): void {
    const content = contentOf(file);
    const packages = this.#packages.get(content) ?? 0;
    if (packages > 1) return void this.#packages.set(content, packages - 1);
    if (this.#packages.delete(content)) this.bytes -= file.bytes;
  }
}

/** What is exceeded. */
export type Bound = "user" | "cache";

export class CacheBounds {
  readonly limitBytes: number;
  readonly #userLimitBytes: number;

  /** Of all packages together, and of those of one user; default half of all. */
  constructor(limitBytes: number, userLimitBytes = Math.ceil(limitBytes / 2)) {
    this.limitBytes = limitBytes;
    this.#userLimitBytes = userLimitBytes;
  }

  /** Which bound `bytes` more of a user would exceed. */
  exceeded(space: CacheSpace, { name }: PackageUser, bytes: number): Bound | undefined {
    if (name !== OWN_USER.name && space.bytesOf(name) + bytes > this.#userLimitBytes) return "user";
    return space.bytes + bytes > this.limitBytes ? "cache" : undefined;
  }

  refusal(bound: Bound, packageName: string, { name }: PackageUser): PackageTooLarge {
    return new PackageTooLarge(
      bound === "user"
        ? `the packages of ${name} may take ${formatBytes(this.#userLimitBytes)} of the node's cache, which has no room for package ${packageName} beside those in use; release leases, or raise --user-cache-limit of rfaas serve`
        : `the node's cache of ${formatBytes(this.limitBytes)} has no room for package ${packageName} beside those in use; release leases, or raise --cache-limit of rfaas serve`,
    );
  }
}

/** Hard links share the permissions too. */
export function contentOf({ sha256, executable }: PackageFile): string {
  return executable ? `${sha256}x` : sha256;
}
