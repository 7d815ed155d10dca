/** A library that needs another one of its author's: it comes along wherever its linker, or the file beside it, says that it is. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { type Invoker, ModuleLoadError, invoker } from "../support/library.ts";
import { buildLibrary } from "../support/compilers.ts";
import { RFAAS } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

const HELPER = "int helper(void) { return 7; }";
const CALLER = `#include <stdint.h>
  int helper(void);
  uint32_t f(void *i, uint32_t n, void *o) { *(char *)o = helper(); return 1; }`;

let rf: Invoker;
let scratch: Scratch;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 2, prewarm: 0 });
});
afterAll(() => rf.close());
beforeEach(() => {
  scratch = new Scratch();
  mkdirSync(scratch.join("lib"));
  mkdirSync(scratch.join("elsewhere"));
});
afterEach(() => scratch[Symbol.dispose]());

/** Builds both, takes a lease of the caller once the helper's own folder is gone, and calls it on both workers. */
async function call(
  path: string,
  { gone, workers = 1, ...options }: { gone?: string; workers?: number; include?: string[] } = {},
): Promise<number[]> {
  await using lease = await rf.allocate(path, { memory: "1MiB", workers, ...options });
  if (gone) rmSync(gone, { recursive: true });
  const results: number[] = [];
  for (let worker = 0; worker < workers; worker++) {
    const output = lease.output(Uint8Array, 8);
    await lease.submit("f", lease.input(Uint8Array, 1), output, { worker });
    results.push(output[0]!);
  }
  return results;
}

/** The flags come before the source. */
const NEED = "-Wl,--no-as-needed";
const link = (...flags: string[]): string =>
  buildLibrary(scratch, "caller", CALLER, [NEED, ...flags]);
const beside = (...flags: string[]): string => buildLibrary(scratch, "libhelper", HELPER, flags);
const at = (folder: string, ...flags: string[]): string => {
  const inside = {
    file: scratch.file.bind(scratch),
    join: (name: string) =>
      name.endsWith(".so") ? scratch.join(`${folder}/${name}`) : scratch.join(name),
  };
  return buildLibrary(inside, "libhelper", HELPER, flags);
};

describe("a library that another one needs comes along", () => {
  test("from beside it, without a path of the linker's or a name of its own", async () => {
    beside();
    expect(await call(link(`-L${scratch.path}`, "-lhelper"), { workers: 2 })).toEqual([7, 7]);
  });

  test("from beside it, when it is linked by its path", async () => {
    expect(await call(link(beside()))).toEqual([7]);
  });

  test("by $ORIGIN, below and above the library", async () => {
    at("lib", "-Wl,-soname,libhelper.so.1");
    symlinkSync("libhelper.so", scratch.join("lib/libhelper.so.1"));
    const below = link(`-L${scratch.join("lib")}`, "-lhelper", "-Wl,-rpath,$ORIGIN/lib");
    expect(await call(below)).toEqual([7]);
    at("elsewhere");
    const inside = {
      file: scratch.file.bind(scratch),
      join: (name: string) => scratch.join(name.endsWith(".so") ? `lib/${name}` : name),
    };
    const above = buildLibrary(inside, "caller", CALLER, [
      ...[NEED, `-L${scratch.join("elsewhere")}`, "-lhelper", "-Wl,-rpath,${ORIGIN}/../elsewhere"],
    ]);
    expect(await call(above)).toEqual([7]);
  });

  test("by an absolute path, though that is nowhere on the node", async () => {
    at("elsewhere");
    const folder = scratch.join("elsewhere");
    const path = link(`-L${folder}`, "-lhelper", `-Wl,-rpath,${folder}`);
    expect(await call(path, { workers: 2, gone: folder })).toEqual([7, 7]);
  });

  test("that calls back what the library itself has", async () => {
    const source = "int base(void); int helper(void) { return base() + 1; }";
    buildLibrary(scratch, "libhelper", source);
    const caller = `${CALLER}\nint base(void) { return 6; }`;
    const path = buildLibrary(scratch, "caller", caller, [NEED, `-L${scratch.path}`, "-lhelper"]);
    expect(await call(path)).toEqual([7]);
  });

  test("from beside the file that a link leads to", async () => {
    beside();
    link(`-L${scratch.path}`, "-lhelper");
    const path = scratch.join("elsewhere/f.so");
    symlinkSync("../caller.so", path);
    expect(await call(path)).toEqual([7]);
  });

  test("with what it needs itself", async () => {
    buildLibrary(scratch, "libdeep", "int deep(void) { return 7; }");
    const source = "int deep(void); int helper(void) { return deep(); }";
    buildLibrary(scratch, "libhelper", source, [NEED, `-L${scratch.path}`, "-ldeep"]);
    const flags = [`-L${scratch.path}`, `-Wl,-rpath-link,${scratch.path}`];
    expect(await call(link(...flags, "-lhelper"))).toEqual([7]);
  });

  test("once, when it is included as well, and from any folder then", async () => {
    beside();
    const flags = [`-L${scratch.path}`, "-lhelper"];
    expect(await call(link(...flags), { include: ["libhelper.so"] })).toEqual([7]);
    rmSync(scratch.join("libhelper.so"));
    at("elsewhere");
    expect(await call(scratch.join("caller.so"), { include: ["elsewhere/*.so"] })).toEqual([7]);
  });

  test("and a new one with it, when it has changed", async () => {
    beside();
    const path = link(`-L${scratch.path}`, "-lhelper");
    expect(await call(path)).toEqual([7]);
    buildLibrary(scratch, "libhelper", HELPER.replace("7", "9"));
    expect(await call(path)).toEqual([9]);
  });
});

test("a library that is not found is told by its name, with what to do", async () => {
  beside();
  const path = link(`-L${scratch.path}`, "-lhelper");
  rmSync(scratch.join("libhelper.so"));
  const error = await rf.allocate(path, { memory: "1MiB" }).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(ModuleLoadError);
  const { message } = error as Error;
  expect(message).toContain("libhelper.so: cannot open shared object file");
  expect(message).toContain("put libhelper.so beside caller.so");
  expect(message).toContain("--include");
});

test("a label of assembly without a type is called", async () => {
  const code = { x64: "movl %esi, %eax", arm64: "mov w0, w1" }[process.arch as string];
  if (code === undefined) return console.error(`SKIPPED: no assembly for ${process.arch}`);
  const source = `__asm__(".text\\n.globl length\\nlength: ${code}\\nret\\n");`;
  const path = buildLibrary(scratch, "assembly", source);
  await using lease = await rf.allocate(path, { memory: "1MiB" });
  expect(lease.functions).toEqual(["length"]);
  const input = lease.input(Uint8Array, 5);
  expect(lease.invoke("length", input, lease.output(Uint8Array, 8))).toBe(5);
});
