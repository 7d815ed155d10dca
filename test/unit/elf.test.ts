/** What is read of shared libraries, against libraries that the machine's compiler makes. */
import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { compiler } from "../../ffi/build.ts";
import { ElfError, readSharedLibrary } from "../../src/function/elf.ts";
import { readLibraryFile } from "../../src/function/library-file.ts";
import { buildLibrary, run } from "../support/compilers.ts";
import { Scratch } from "../support/scratch.ts";

const SOURCE = `
unsigned first(void *i, unsigned n, void *o) { return n; }
unsigned second(void *i, unsigned n, void *o) { return n; }
__attribute__((weak)) unsigned weak(void *i, unsigned n, void *o) { return n; }
__attribute__((visibility("protected"))) unsigned guarded(void *i, unsigned n, void *o) { return n; }
__attribute__((visibility("hidden"))) unsigned hidden(void *i, unsigned n, void *o) { return n; }
static unsigned own(void *i, unsigned n, void *o) { return n; }
int data = 4;
unsigned missing(void);
unsigned calls(void *i, unsigned n, void *o) { return missing() + own(i, n, o) + hidden(i, n, o); }
`;
const EXPORTED = ["calls", "first", "guarded", "second", "weak"];

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());
const library = buildLibrary(scratch, "plain", SOURCE);

function read(bytes: Uint8Array) {
  return readSharedLibrary({
    size: bytes.length,
    read: (offset, length) => bytes.slice(offset, offset + length),
  });
}

/** The library's bytes with some of them changed. */
function changed(change: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(readFileSync(library));
  change(new DataView(bytes.buffer, bytes.byteOffset, bytes.length));
  return bytes;
}

describe("the functions of a library", () => {
  test("are those that it exports, and no others", () => {
    expect(readLibraryFile(library)).toEqual({ architecture: process.arch, functions: EXPORTED });
  });

  for (const style of ["gnu", "sysv", "both"])
    test(`are found by a hash table of the style "${style}"`, () => {
      const path = buildLibrary(scratch, style, SOURCE, [`-Wl,--hash-style=${style}`]);
      expect(readLibraryFile(path).functions).toEqual(EXPORTED);
    });

  test("are found without section headers", () => {
    const stripped = changed((view) => {
      view.setBigUint64(40, 0n, true);
      view.setUint32(58, 0, true);
      view.setUint16(62, 0, true);
    });
    expect(read(stripped).functions).toEqual(EXPORTED);
  });

  test("are the default versions of those that have versions", () => {
    const map = scratch.file(
      "versions.map",
      "V1 { global: old; also; local: *; };\nV2 { global: new; } V1;\n",
    );
    const path = buildLibrary(
      scratch,
      "versions",
      `unsigned old_1(void) { return 1; } unsigned old_2(void) { return 2; } unsigned also(void) { return 3; }
       unsigned gone_1(void) { return 4; }
       __asm__(".symver old_1,old@V1"); __asm__(".symver old_2,old@@V2"); __asm__(".symver gone_1,gone@V1");`,
      [`-Wl,--version-script=${map}`],
    );
    expect(readLibraryFile(path).functions).toEqual(["also", "old"]);
  });

  test("are as many as the library has", () => {
    const names = Array.from({ length: 1000 }, (_, i) => `f${String(i).padStart(4, "0")}`);
    const source = names.map((name) => `int ${name}(void) { return 0; }`).join("\n");
    expect(readLibraryFile(buildLibrary(scratch, "many", source)).functions).toEqual(names);
  });

  test("may be none", () => {
    const path = buildLibrary(
      scratch,
      "none",
      "int data = 1; static int own(void) { return 1; } int *p = &data; int (*q)(void) = own;",
    );
    expect(readLibraryFile(path).functions).toEqual([]);
  });

  test("that are too many to list are refused in words", () => {
    const long = "x".repeat(4000);
    const source = Array.from(
      { length: 300 },
      (_, i) => `int ${long}${i}(void) { return 0; }`,
    ).join("\n");
    expect(() => readLibraryFile(buildLibrary(scratch, "long", source))).toThrow(
      "300 functions, more than can be listed",
    );
  });
});

describe("a file that is no library", () => {
  const object = scratch.join("plain.o");
  const program = scratch.join("program");
  const fixed = scratch.join("fixed");
  run([compiler()!, "-c", "-fPIC", "-o", object, scratch.join("plain.c")], "/");
  const main = scratch.file("main.c", "int main(void) { return 0; }");
  run([compiler()!, "-pie", "-fPIE", "-rdynamic", "-o", program, main], "/");
  run([compiler()!, "-no-pie", "-o", fixed, main], "/");

  const files: [what: string, bytes: () => Uint8Array, says: string][] = [
    ["an empty one", () => new Uint8Array(0), "no ELF file"],
    ["text", () => new TextEncoder().encode("export const f = 1;"), "no ELF file"],
    ["the magic number alone", () => new Uint8Array([0x7f, 0x45, 0x4c, 0x46]), "truncated"],
    ["an object file", () => readFileSync(object), "an object file; link it"],
    ["an executable that moves", () => readFileSync(program), "an executable, and no library"],
    ["an executable that does not", () => readFileSync(fixed), "an executable, and no library"],
    ["half of a library", () => readFileSync(library).subarray(0, 5000), "truncated"],
    ["a 32-bit library", () => changed((view) => view.setUint8(4, 1)), "another kind of machine"],
    ["a core dump", () => changed((view) => view.setUint16(16, 4, true)), "a core dump"],
    [
      "one of an unknown type",
      () => changed((view) => view.setUint16(16, 77, true)),
      "ELF type 77",
    ],
  ];
  for (const [what, bytes, says] of files)
    test(`(${what}) is refused, and what to do is said`, () => {
      expect(() => read(bytes())).toThrow(ElfError);
      expect(() => read(bytes())).toThrow(says);
    });

  test("but one for another machine is told by its name", () => {
    expect(read(changed((view) => view.setUint16(18, 183, true))).architecture).toBe("arm64");
    expect(read(changed((view) => view.setUint16(18, 243, true))).architecture).toBe("riscv64");
    expect(read(changed((view) => view.setUint16(18, 999, true))).architecture).toBe("machine 999");
  });
});
