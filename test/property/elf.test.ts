/** Whatever a damaged library holds, reading it ends soon, with functions or with an error that says so. */
import { afterAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { ElfError, readSharedLibrary } from "../../src/library/elf.ts";
import { buildLibrary } from "../support/compilers.ts";
import { Scratch } from "../support/scratch.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());
const libraries = ["gnu", "sysv"].map(
  (style) =>
    new Uint8Array(
      readFileSync(
        buildLibrary(
          scratch,
          style,
          "int first(void) { return 1; } int second(void) { return 2; }",
          [`-Wl,--hash-style=${style}`, "-Wl,-soname,libx.so.1", "-Wl,-rpath,$ORIGIN"],
        ),
      ),
    ),
);

/** Reads, and returns how many bytes were asked for. Throws what is neither a list of functions nor an {@link ElfError}. */
function bytesRead(bytes: Uint8Array): number {
  let total = 0;
  try {
    const { functions } = readSharedLibrary({
      size: bytes.length,
      read(offset, length) {
        if (offset < 0 || offset + length > bytes.length) throw new Error("read out of bounds");
        total += length;
        return bytes.slice(offset, offset + length);
      },
    });
    for (const name of functions) expect(name).toBeString();
  } catch (error) {
    if (!(error instanceof ElfError)) throw error;
    expect(error.message).toMatch(/; .*(build|link|name)/);
  }
  return total;
}

/** A chain of hashes is read in pieces, so a damaged one is read through once more. */
const limit = (bytes: Uint8Array): number => 8 * bytes.length + 8192;

test("a library that ends at any byte is refused or read, within bounds", () => {
  for (const library of libraries)
    for (let length = 0; length < library.length; length++) {
      const cut = library.subarray(0, length);
      expect(bytesRead(cut)).toBeLessThan(limit(library));
    }
});

test("a library with any one byte wrong is refused or read, within bounds", () => {
  for (const library of libraries)
    for (let at = 0; at < library.length; at++) {
      const bytes = library.slice();
      for (const value of [0x00, 0xff, library[at]! ^ 0x80, library[at]! ^ 0x01]) {
        bytes[at] = value;
        expect(bytesRead(bytes)).toBeLessThan(limit(library));
      }
    }
});

test("a library with several words wrong is refused or read, within bounds", () => {
  const word = fc.oneof(
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    fc.bigInt({ min: 0n, max: 0x5000n }),
    fc.constantFrom(0n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 53n, 0xffffffffn),
  );
  for (const library of libraries)
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat({ max: 0x600 }), word), { minLength: 1, maxLength: 8 }),
        (changes) => {
          const bytes = library.slice();
          const view = new DataView(bytes.buffer);
          for (const [at, value] of changes)
            if (at + 8 <= bytes.length) view.setBigUint64(at & ~3, value, true);
          expect(bytesRead(bytes)).toBeLessThan(limit(library));
        },
      ),
      { numRuns: 5000 },
    );
});
