/** A native library is looked into before a lease is asked for, without running anything of it. */
import { statSync } from "node:fs";
import { ModuleLoadError } from "../../base/errors.ts";
import { ElfError } from "../../library/elf.ts";
import { isLibraryPath, readLibraryFile, withoutFunctions } from "../../library/library-file.ts";

/** Throws {@link ModuleLoadError} when a file that can be read here is no library with functions. Another file is the node's matter. */
export function requireLibrary(path: string): void {
  if (!isLibraryPath(path) || !statSync(path, { throwIfNoEntry: false })?.isFile()) return;
  let functions;
  try {
    ({ functions } = readLibraryFile(path));
  } catch (cause) {
    if (!(cause instanceof ElfError)) return;
    throw new ModuleLoadError("RFAAS_MODULE_FAILED", path, cause.message, { cause });
  }
  if (functions.length === 0)
    throw new ModuleLoadError("RFAAS_NO_FUNCTIONS", path, withoutFunctions(path));
}
