/** The packages of a node, as the command line has them: where they are kept, and the module that it watches. */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { UsageError } from "../../base/errors.ts";
import { PackageStore } from "../../executor/packages/store.ts";

interface PackagesAsked {
  cache?: string | undefined;
  cacheLimit?: number | undefined;
  userCacheLimit?: number | undefined;
  packageLimit?: number | undefined;
}

interface WatchAsked {
  watch?: string | undefined;
  include?: readonly string[] | undefined;
  external?: readonly string[] | undefined;
}

export function openPackages(asked: PackagesAsked, warn: (message: string) => void): PackageStore {
  const { cache } = asked;
  const packages = new PackageStore({
    folder: cache === undefined ? undefined : resolve(cache),
    limitBytes: asked.cacheLimit,
    userLimitBytes: asked.userCacheLimit,
    packageLimitBytes: asked.packageLimit,
    warn,
  });
  // A folder that is named must be of use; without any other, the node can still serve what it has built in.
  if (cache !== undefined) void packages.folder;
  return packages;
}

/** The path of the module of `--watch`. Throws {@link UsageError}. */
export function watchedModule({ watch, include, external }: WatchAsked): string | undefined {
  if (watch === undefined) {
    if (include !== undefined || external !== undefined)
      throw new UsageError("--include and --external are for --watch; clients say what they send");
    return undefined;
  }
  const path = resolve(watch);
  if (!statSync(path, { throwIfNoEntry: false })?.isFile())
    throw new UsageError(`--watch: there is no file ${path}; name a module`);
  return path;
}
