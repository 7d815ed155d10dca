/** From what a client calls a module to the file that a host loads. */
import { BUILT_IN } from "../../library/format-names.ts";
import { packageNamed } from "../../package/contents/manifest.ts";
import type { PackageUse } from "./cache.ts";
import type { PackageUser } from "./space.ts";
import type { PackageStore } from "./store.ts";

/** Why a module cannot be loaded. */
export interface NoModule {
  code: string;
  message: string;
}

const NOTHING = (): void => {};

/** The module's file for a lease of a user, held in the cache until its use ends. */
export async function findModule(
  packages: PackageStore,
  module: string,
  user: PackageUser,
): Promise<PackageUse | NoModule> {
  if (module.startsWith(BUILT_IN)) return { path: module, name: module, end: NOTHING };
  const hash = packageNamed(module);
  if (!hash)
    return {
      code: "RFAAS_USAGE",
      message: `a module is rfaas:NAME or package:HASH; it is ${JSON.stringify(module.slice(0, 200))}`,
    };
  try {
    const use = await packages.use(hash, user);
    if (use) return use;
  } catch (error) {
    const { message } = error as Error;
    return { code: "RFAAS_PACKAGE_CACHE_FAILED", message };
  }
  return {
    code: "RFAAS_PACKAGE_UNKNOWN",
    message: `the node has no package ${hash}; push it with: rfaas package push`,
  };
}
