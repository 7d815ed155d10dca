/** Loads a native library in a worker thread: its functions are those of its dynamic symbol table. */
import { NativeModule, NativeModuleError } from "../../../ffi/native-module.ts";
import { basename, dirname, join } from "node:path";
import { reasonOf } from "../../base/system-errors.ts";
import { ElfError, type SharedLibrary } from "../../library/elf.ts";
import { readLibraryFile, withoutFunctions } from "../../library/library-file.ts";
import { type NeededLibrary, neededLibraries } from "../../library/library-search.ts";
import { LoadFailure, type LoadedModule } from "./loaded-module.ts";

/** Opens the library at an absolute path; messages call it `name`. Throws {@link LoadFailure}. */
export function loadNative(path: string, name: string): LoadedModule {
  const { architecture, functions } = read(path, name);
  if (architecture !== process.arch)
    throw failed(
      "WrongArchitecture",
      `${name} is built for ${architecture} and this node is ${process.arch}; build it for ${process.arch}, or use a node of its kind`,
    );
  if (functions.length === 0)
    throw new LoadFailure("RFAAS_NO_FUNCTIONS", {
      name: "NoFunctions",
      message: withoutFunctions(name),
    });
  const own = openNeeded(path);
  const library = open(path, name, own);
  return {
    functions: functions.map((symbol) => library.function(symbol)),
    exports: { functions, others: {} },
    hooks: undefined,
  };
}

function read(path: string, name: string): SharedLibrary {
  try {
    return readLibraryFile(path, name);
  } catch (error) {
    if (error instanceof ElfError) throw failed("NotALibrary", error.message);
    throw failed("Unreadable", `${name} cannot be read: ${reasonOf(error)}`);
  }
}

/**
 * Opens the libraries that this one needs and the package has, the deepest first, so that the loader finds them open and does not
 * search. Leaves one that does not open to the loader, which says why. Returns the paths, by name.
 */
function openNeeded(path: string): Map<string, string> {
  const folder = dirname(path);
  const places = new Map<string, string>();
  for (const file of new Bun.Glob("**/*.so*").scanSync({ cwd: folder, dot: true }))
    if (!places.has(basename(file))) places.set(basename(file), join(folder, file));
  if (places.size < 2) return places;
  const opened = new Set<NeededLibrary>();
  const openAll = (needs: readonly NeededLibrary[]): void => {
    for (const one of needs) {
      if (opened.has(one)) continue;
      opened.add(one);
      openAll(one.needs);
      try {
        const library = openHelper(one.path);
        if (one.soname !== one.name) library.answerTo(one.name);
      } catch (error) {
        if (!(error instanceof NativeModuleError)) throw error;
      }
    }
  };
  openAll(neededLibraries(path, (file) => places.get(file)));
  return places;
}

/** A dependency that calls back into the library is complete only together with it. */
function openHelper(path: string): NativeModule {
  try {
    return NativeModule.open(path);
  } catch (error) {
    if (error instanceof NativeModuleError && error.message.includes("undefined symbol"))
      return NativeModule.open(path, { lazy: true });
    throw error;
  }
}

function open(path: string, name: string, own: ReadonlyMap<string, string>): NativeModule {
  try {
    return NativeModule.open(path);
  } catch (error) {
    if (!(error instanceof NativeModuleError)) throw error;
    const missing = /^(\S+): cannot open shared object file/.exec(error.message)?.[1];
    const advice =
      missing !== undefined && !own.has(basename(missing))
        ? `put ${basename(missing)} beside ${basename(name)}, or bring it along with --include (include), or install it on the node`
        : "link the library with what it needs, or install that on the node (ldd -r shows what is missing)";
    throw failed("LinkError", `${error.message.replaceAll(path, name)}; ${advice}`);
  }
}

function failed(name: string, message: string): LoadFailure {
  return new LoadFailure("RFAAS_MODULE_FAILED", { name, message });
}
