/** Where a node keeps packages: a folder that only the node's own user can write. */
import { chmodSync, lstatSync, mkdirSync, statSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { isAbsolute, join } from "node:path";
import { EnvironmentError } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";

const PRIVATE = 0o700;
const WRITABLE_BY_OTHERS = 0o022;

/**
 * The folder that is named, else `$XDG_CACHE_HOME/rfaas`, `~/.cache/rfaas`, or one below the temporary folder: the first that can be
 * had. Made where it is not there.
 *
 * @throws {EnvironmentError} it belongs to another user, or other users can write it
 */
export function openCacheFolder(named: string | undefined): string {
  if (named !== undefined) return claim(named);
  const xdg = process.env["XDG_CACHE_HOME"];
  const home = process.env["HOME"] || homedir();
  const places = [
    ...(xdg && isAbsolute(xdg) ? [join(xdg, "rfaas")] : []),
    ...(isAbsolute(home) ? [join(home, ".cache", "rfaas")] : []),
    join(tmpdir(), `rfaas-cache-${process.getuid?.() ?? 0}`),
  ];
  let first: unknown;
  for (const place of places) {
    try {
      return claim(place);
    } catch (error) {
      first ??= error;
    }
  }
  throw first;
}

function claim(folder: string): string {
  try {
    mkdirSync(folder, { recursive: true, mode: PRIVATE });
    requireOurs(folder);
    const own = join(folder, "packages-1");
    for (const part of [own, ...["stored", "incoming", "users"].map((name) => join(own, name))]) {
      mkdirSync(part, { recursive: true, mode: PRIVATE });
      requireOurs(part);
      // Packages are their users' alone, also where others may look into the folder that was named.
      chmodSync(part, PRIVATE);
    }
    return own;
  } catch (cause) {
    if (cause instanceof EnvironmentError) throw cause;
    throw new EnvironmentError(
      `${folder} cannot be used as the cache of packages: ${reasonOf(cause)}; choose another one with rfaas serve --cache DIR`,
      { cause },
    );
  }
}

function requireOurs(folder: string): void {
  const own = process.getuid?.() ?? 0;
  const link = lstatSync(folder).uid;
  const { uid: target, mode } = statSync(folder);
  const uid = link === own ? target : link;
  const fault =
    uid !== own
      ? `belongs to user ${uid}, not to this one (${own})`
      : (mode & WRITABLE_BY_OTHERS) !== 0
        ? "can be written by others"
        : undefined;
  if (fault)
    throw new EnvironmentError(
      `${folder} ${fault}: other users could change packages in it; choose another cache with rfaas serve --cache DIR`,
    );
}
