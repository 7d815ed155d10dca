/** Native libraries as modules. */
import { statSync } from "node:fs";
import { ModuleLoadError } from "../base/errors.ts";
import { ElfError } from "./elf.ts";
import type { BinaryFormat } from "./format.ts";
import { readLibraryFile, withoutFunctions } from "./library-file.ts";
import { type NeededLibrary, neededLibraries } from "./library-search.ts";

export const native: BinaryFormat = {
  companions(path) {
    const paths = new Set<string>();
    const add = (some: readonly NeededLibrary[]): void => {
      for (const { path, needs } of some) {
        if (paths.has(path)) continue;
        paths.add(path);
        add(needs);
      }
    };
    try {
      add(neededLibraries(path));
    } catch {
      // A file that is no library is refused, in words, when it is loaded.
    }
    return [...paths];
  },

  inspect(path) {
    if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return;
    let functions;
    try {
      ({ functions } = readLibraryFile(path));
    } catch (cause) {
      if (!(cause instanceof ElfError)) return;
      throw new ModuleLoadError("RFAAS_MODULE_FAILED", path, cause.message, { cause });
    }
    if (functions.length === 0)
      throw new ModuleLoadError("RFAAS_NO_FUNCTIONS", path, withoutFunctions(path));
  },
};
