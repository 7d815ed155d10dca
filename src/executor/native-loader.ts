/** Loads a native library in a worker thread: its functions are those of its dynamic symbol table. */
import { NativeModule, NativeModuleError } from "../../ffi/native-module.ts";
import { ElfError, type SharedLibrary } from "../function/elf.ts";
import { readLibraryFile, withoutFunctions } from "../function/library-file.ts";
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
  const library = open(path, name);
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
    throw failed("Unreadable", `${name} cannot be read: ${(error as Error).message}`);
  }
}

function open(path: string, name: string): NativeModule {
  try {
    return NativeModule.open(path);
  } catch (error) {
    if (!(error instanceof NativeModuleError)) throw error;
    throw failed(
      "LinkError",
      `${error.message.replaceAll(path, name)}; link the library with what it needs, or install that on the node (ldd -r shows what is missing)`,
    );
  }
}

function failed(name: string, message: string): LoadFailure {
  return new LoadFailure("RFAAS_MODULE_FAILED", { name, message });
}
