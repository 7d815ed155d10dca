/** What is read of shared libraries, against libraries that the machine's compiler makes. */
import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { compiler } from "../../ffi/build.ts";
import { ElfError, readSharedLibrary } from "../../src/library/elf.ts";
import { readLibraryFile } from "../../src/library/library-file.ts";
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
    const { architecture, functions } = readLibraryFile(library);
    expect(architecture).toBe(process.arch);
    expect(functions).toEqual(EXPORTED);
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

  const ASSEMBLY = `
    __asm__(".text\\n.globl untyped\\nuntyped: ret\\n.weak lenient\\nlenient: ret\\n"
            ".hidden inner\\n.globl inner\\ninner: ret\\nlocal: ret\\n"
            ".data\\n.globl table\\ntable: .quad 1\\n.globl absolute\\nabsolute = 4096\\n"
            ".section .rodata\\n.globl constant\\nconstant: .quad 2\\n.bss\\n.globl room\\nroom: .skip 8\\n.text\\n");
    unsigned typed(void) { return 1; }`;

  test("are labels of assembly, too, that have no type and name code", () => {
    const path = buildLibrary(scratch, "assembly", ASSEMBLY);
    expect(readLibraryFile(path).functions).toEqual(["lenient", "typed", "untyped"]);
  });

  test("are told from data without a type where both lie in one segment, by the sections", () => {
    const path = buildLibrary(scratch, "one-segment", ASSEMBLY, ["-Wl,-z,noseparate-code"]);
    expect(readLibraryFile(path).functions).toEqual(["lenient", "typed", "untyped"]);
  });

  test("are none of those that the linker adds", () => {
    const flags = ["-Wl,--export-dynamic", "-Wl,-u,_etext", "-Wl,-u,_edata", "-Wl,-u,__bss_start"];
    const source = `extern char _etext, _edata, _end, __bss_start;
      char *marks[] = {&_etext, &_edata, &_end, &__bss_start}; unsigned f(void) { return 1; }`;
    expect(readLibraryFile(buildLibrary(scratch, "marks", source, flags)).functions).toEqual(["f"]);
  });

  test("keep a byte order mark that begins their names", () => {
    const source = `unsigned marked(void *i, unsigned n, void *o) __asm__("\ufeffmarked");
      unsigned marked(void *i, unsigned n, void *o) { return n; }`;
    const { functions } = readLibraryFile(buildLibrary(scratch, "marked", source));
    expect(functions).toEqual(["\ufeffmarked"]);
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

describe("what a library needs", () => {
  test("is what its linker was told, in order, with where to look", () => {
    const helper = buildLibrary(scratch, "libhelper", "int helper(void) { return 7; }");
    const named = buildLibrary(scratch, "libnamed", "int named(void) { return 8; }", [
      "-Wl,-soname,libnamed.so.2",
    ]);
    const path = buildLibrary(
      scratch,
      "needy",
      "int helper(void); int named(void); int f(void) { return helper() + named(); }",
      [
        ...["-Wl,--no-as-needed", `-L${scratch.path}`, "-lhelper", "-lnamed"],
        "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib:/opt/own",
      ],
    );
    const { needed, soname, searchPaths } = readLibraryFile(path);
    expect(needed.slice(0, 2)).toEqual(["libhelper.so", "libnamed.so.2"]);
    expect(soname).toBeUndefined();
    expect(searchPaths).toEqual(["$ORIGIN/lib", "/opt/own"]);
    expect(readLibraryFile(named).soname).toBe("libnamed.so.2");
    expect(readLibraryFile(helper).soname).toBeUndefined();
    expect(readLibraryFile(helper).searchPaths).toEqual([]);
  });

  test("is looked for by the older kind of path, too", () => {
    const flags = ["-Wl,--disable-new-dtags,-rpath,$ORIGIN"];
    const path = buildLibrary(scratch, "older", "int f(void) { return 1; }", flags);
    expect(readLibraryFile(path).searchPaths).toEqual(["$ORIGIN"]);
  });
});
