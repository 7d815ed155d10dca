/** Resolves a program's name of a module to the name that the node is asked for, and to the package that can be sent. */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { UsageError } from "../../base/errors.ts";
import { BUILT_IN } from "../../library/format-names.ts";
import { formatOf } from "../../library/formats.ts";
import { ARCHIVE_EXTENSION, readArchive } from "../../package/contents/archive.ts";
import { PackageBuilder } from "../../package/builder.ts";
import type { PackageOptions } from "../../package/options.ts";
import { PACKAGE, packageNamed } from "../../package/contents/manifest.ts";
import type { Package } from "../../package/contents/package.ts";
import { explained } from "../../base/shortage.ts";
import { warnOnce } from "../../base/warnings.ts";
import { rememberOrigins } from "../failures/author-paths.ts";
import { show } from "../../base/show.ts";

export interface ModuleSource {
  /** For the node: `rfaas:NAME` or `package:HASH`. */
  module: string;
  /** For people. */
  name: string;
  /** The package with its bytes, where this machine has it. */
  package?: Package;
  /** The source file of the package. */
  origin?: string;
}

/** Shared by all leases of the process, so that it builds each module once. */
const builder = new PackageBuilder();

/**
 * Finds a module: a path, a `file:` URL, a package file, `package:HASH`, or one of rfaas's own.
 *
 * @throws {ModuleLoadError} it is not there, or does not compile
 * @throws {PackageInvalid} it cannot be packed, or the package file is damaged
 * @throws {UsageError} it is none of these
 * @throws {EnvironmentError} the machine has run out of something
 */
export async function findModule(
  module: string | URL,
  options: PackageOptions,
): Promise<ModuleSource> {
  try {
    return await find(module, options);
  } catch (error) {
    throw explained(error, `${show(module)} cannot be packed`);
  }
}

async function find(module: string | URL, options: PackageOptions): Promise<ModuleSource> {
  if (typeof module === "string") {
    if (module.startsWith(BUILT_IN)) return { module, name: module };
    if (packageNamed(module)) return { module, name: module };
    if (module.startsWith(PACKAGE))
      throw new UsageError(
        `${module} names no package; after package: come 64 hexadecimal digits, as rfaas package ls shows them`,
      );
  }
  const path = pathOf(module);
  if (path.endsWith(ARCHIVE_EXTENSION)) {
    if (options.include?.length || options.external?.length)
      throw new UsageError(
        `${path} is a package already; give include and external to rfaas package build`,
      );
    const made = await readArchive(path);
    return { module: `${PACKAGE}${made.hash}`, name: path, package: made };
  }
  formatOf(path)?.inspect(path);
  const { package: made, origins, warnings } = await builder.build(path, options);
  for (const warning of warnings) warnOnce(warning);
  rememberOrigins(made.hash, origins);
  return { module: `${PACKAGE}${made.hash}`, name: path, package: made, origin: path };
}

function pathOf(module: string | URL): string {
  try {
    const path =
      typeof module === "string" && !module.startsWith("file:")
        ? resolve(module)
        : fileURLToPath(module);
    if (!path.includes("\0")) return path;
    throw new TypeError("a path has no null character");
  } catch (cause) {
    throw new UsageError(`a module must be a path or a file: URL; it is ${show(module)}`, {
      cause,
    });
  }
}
