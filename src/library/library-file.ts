/** Reading the file of a native library, on the client and on the node. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { ElfError, type SharedLibrary, readSharedLibrary } from "./elf.ts";

/** The error for a library without functions. */
export function withoutFunctions(name: string): string {
  return `${name} exports no function; give the functions external linkage and default visibility (in C++ extern "C", in Rust #[no_mangle] pub extern "C", in Fortran bind(C))`;
}

/** Exported names are sent to the client in one message. */
const MAX_NAMES_BYTES = 1024 * 1024;

/**
 * What the library at `path` exports; only its tables are read.
 *
 * @throws {ElfError} it is no library that functions can be called in; the message begins with `name`
 * @throws what `node:fs` throws when the file cannot be read
 */
export function readLibraryFile(path: string, name = path): SharedLibrary {
  const fd = openSync(path, "r");
  try {
    const { size } = fstatSync(fd);
    const library = readSharedLibrary({
      size,
      read(offset, length) {
        const bytes = Buffer.alloc(length);
        return bytes.subarray(0, readSync(fd, bytes, 0, length, offset));
      },
    });
    const namesBytes = library.functions.reduce((sum, name) => sum + name.length, 0);
    if (namesBytes > MAX_NAMES_BYTES)
      throw new ElfError(
        `a library of ${library.functions.length} functions, more than can be listed; build it with -fvisibility=hidden and export those that are to be called`,
      );
    return library;
  } catch (error) {
    if (!(error instanceof ElfError)) throw error;
    throw new ElfError(`${name} is ${error.message}`);
  } finally {
    closeSync(fd);
  }
}
