/**
 * Where the libraries lie that a library needs, besides those of the system: in the folders that its linker has named, and beside
 * it. The client brings them along; the node opens them first, so that the loader need not find them.
 */
import { closeSync, openSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { SharedLibrary } from "./elf.ts";
import { readLibraryFile } from "./library-file.ts";

/** A library that another one needs. */
export interface NeededLibrary {
  path: string;
  /** What the other one calls it. */
  name: string;
  soname: string | undefined;
  needs: NeededLibrary[];
}

/** These come with every node, and must be its own. */
const OF_THE_SYSTEM =
  /^(ld-|ld\.so|libc\.so|libm\.so|libmvec\.so|libdl\.so|librt\.so|libpthread\.so|libresolv\.so|libutil\.so|libanl\.so|libnsl\.so)/;
const SYSTEM_FOLDER = /^\/(usr\/)?lib(32|64|x32)?(\/|$)/;
const MAX_LIBRARIES = 1000;

/**
 * The libraries that those at `path` need and that are not the system's. `elsewhere` finds one that lies neither where the linker
 * says nor beside the one that needs it.
 *
 * @throws what {@link readLibraryFile} throws for the library itself; what it needs and cannot be read is left out
 */
export function neededLibraries(
  path: string,
  elsewhere: (name: string) => string | undefined = () => undefined,
): NeededLibrary[] {
  const known = new Map<string, NeededLibrary>();
  const needsOf = (at: string, library: SharedLibrary): NeededLibrary[] =>
    library.needed.flatMap((name) => {
      if (OF_THE_SYSTEM.test(basename(name))) return [];
      const found = locate(name, at, library.searchPaths) ?? elsewhere(basename(name));
      if (found === undefined) return [];
      const real = realpathSync(found);
      const before = known.get(real);
      if (before) return before.name === name ? [before] : [{ ...before, name }];
      if (known.size >= MAX_LIBRARIES) return [];
      let read: SharedLibrary;
      try {
        read = readLibraryFile(real);
      } catch {
        return [];
      }
      const one: NeededLibrary = { path: found, name, soname: read.soname, needs: [] };
      known.set(real, one);
      one.needs = needsOf(found, read);
      return [one];
    });
  return needsOf(path, readLibraryFile(path));
}

function locate(name: string, from: string, searchPaths: readonly string[]): string | undefined {
  const folder = dirname(from);
  // A link to a library is often beside others than the library itself.
  const home = dirname(realpathSync(from));
  // What is named by a path was linked so because it has no other name.
  const file = basename(name);
  const folders = searchPaths.map((path) => path.replace(/\$(ORIGIN|\{ORIGIN\})/g, folder));
  const places = [...folders.filter((path) => path.startsWith("/")), folder, home];
  return places
    .filter((place) => !SYSTEM_FOLDER.test(place))
    .map((place) => join(place, file))
    .find((path) => statSync(path, { throwIfNoEntry: false })?.isFile() && opens(path));
}

/** Whether it can be read: the room of a function shows more files than it lets be read. */
function opens(path: string): boolean {
  try {
    closeSync(openSync(path, "r"));
    return true;
  } catch {
    return false;
  }
}
