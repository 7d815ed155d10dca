/**
 * Compiles the C files of `ffi/shim/` into `ffi/build/librfaas.so` with the system's C compiler.
 *
 *     bun ffi/build.ts [--quiet]        # $CC, else cc, gcc or clang
 *
 * Skips the work when nothing changed since the last build. For another architecture than this machine's it takes Debian's cross
 * compiler, and compiles into a folder of that architecture.
 */
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";

const SHIM = join(import.meta.dir, "shim");
const OUT = join(import.meta.dir, "build");

/** As `process.arch` has it. */
export type Architecture = "x64" | "arm64";
/** As Debian names a cross compiler, and its packages. */
const CROSS: Readonly<Record<Architecture, { compiler: string; packages: string }>> = {
  x64: { compiler: "x86_64-linux-gnu-gcc", packages: "gcc-x86-64-linux-gnu libc6-dev-amd64-cross" },
  arm64: {
    compiler: "aarch64-linux-gnu-gcc",
    packages: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
  },
};

/** Included before all else, from the folder of the sources. */
const FIRST_HEADER = "core/glibc.h";
const FLAGS = ["-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread"];
/** What the shim knows where these headers are: one that was built before they were installed is built again. */
const OPTIONAL = [
  {
    name: "RDMA",
    headers: ["/usr/include/infiniband/verbs.h", "/usr/include/rdma/rdma_cma.h"],
    packages: "libibverbs-dev librdmacm-dev (Debian, Ubuntu) or rdma-core-devel (Fedora, RHEL)",
  },
  {
    name: "libfabric",
    headers: ["/usr/include/rdma/fabric.h"],
    packages: "libfabric-dev (Debian, Ubuntu) or libfabric-devel (Fedora, RHEL)",
  },
];
/** Errors in CI only: another compiler may warn of more, and must not keep a user from building. */
const WARNINGS = [
  "-Wall",
  "-Wextra",
  "-Wconversion",
  "-Wno-sign-conversion",
  ...(process.env["CI"] ? ["-Werror"] : []),
];

/** The compiler to use, or null when there is none. */
export function compiler(): string | null {
  for (const candidate of [process.env["CC"], "cc", "gcc", "clang"])
    if (candidate && Bun.which(candidate)) return candidate;
  return null;
}

/** What a shim that is compiled here would not know, and why, with what to install. Empty where all headers are there. */
export function lacks(): { name: string; why: string }[] {
  return OPTIONAL.flatMap(({ name, headers, packages }) => {
    const missing = headers.filter((path) => !existsSync(path));
    if (missing.length === 0) return [];
    const are = missing.length > 1 ? "are" : "is";
    return { name, why: `${missing.join(" and ")} ${are} missing; install ${packages}` };
  });
}

/** The C files of a folder and of those in it, and their headers. Sorted, so that a build does not depend on the file system. */
function sourcesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => /\.[ch]$/.test(name))
    .map((name) => join(folder, name))
    .toSorted();
}

/**
 * The C files of the shim whose sources lie in `folder` that the compiler gets: all but those that another one includes, so that
 * what is hot is compiled as one.
 */
export function unitsOf(folder: string): string[] {
  const files = sourcesOf(folder).filter((path) => path.endsWith(".c"));
  const included = new Set(
    files.flatMap((path) =>
      [...readFileSync(path, "utf8").matchAll(/^#include "([^"]+\.c)"$/gm)].map(([, name]) =>
        join(dirname(path), name!),
      ),
    ),
  );
  return files.filter((path) => !included.has(path));
}

/** The compiler for an architecture, this machine's or another. Throws when there is none. */
function compilerFor(architecture: string): string {
  if (architecture === process.arch) {
    const cc = compiler();
    if (cc) return cc;
    throw new Error("no C compiler found; install one, for example: apt-get install gcc libc6-dev");
  }
  const cross = CROSS[architecture as Architecture];
  if (Bun.which(cross.compiler)) return cross.compiler;
  throw new Error(
    `no C compiler for ${architecture} found (${cross.compiler}); run: apt-get install ${cross.packages}`,
  );
}

/**
 * Compiles the shim whose sources lie in `folder` to the library `out`, with macros that are defined and flags that are given besides.
 * Throws with the compiler's output on failure.
 */
export function compileShim(
  folder: string,
  out: string,
  architecture: string = process.arch,
  defined: readonly string[] = [],
  besides: readonly string[] = [],
): void {
  const cc = compilerFor(architecture);
  // Written beside and renamed, so that a running program keeps the library it has mapped.
  const fresh = `${out}.${process.pid}`;
  const first = ["-include", join(folder, FIRST_HEADER), ...defined.map((name) => `-D${name}`)];
  const run = Bun.spawnSync(
    [cc, ...FLAGS, ...first, ...WARNINGS, ...besides, "-o", fresh, ...unitsOf(folder)],
    {
      stderr: "pipe",
    },
  );
  if (!run.success) {
    rmSync(fresh, { force: true });
    throw new Error(`${cc} could not compile the shim:\n${run.stderr}`);
  }
  renameSync(fresh, out);
}

/**
 * Builds the shim of an architecture if a source is newer than it, or headers that it can use were installed since. Returns its path. Throws
 * with the compiler's output on failure.
 */
export function buildShim(architecture: string = process.arch): string {
  const folder = architecture === process.arch ? OUT : join(OUT, architecture);
  const library = join(folder, "librfaas.so");
  const newest = Math.max(
    ...[...sourcesOf(SHIM), import.meta.path].map((path) => statSync(path).mtimeMs),
    ...OPTIONAL.flatMap(({ headers }) => headers)
      .filter(existsSync)
      .map((path) => statSync(path).ctimeMs),
  );
  if (existsSync(library) && statSync(library).mtimeMs > newest) return library;
  mkdirSync(folder, { recursive: true });
  compileShim(SHIM, library, architecture);
  return library;
}

if (import.meta.main) {
  if (!process.argv.includes("--quiet"))
    for (const { name, why } of lacks())
      console.error(`setup: goes on without ${name}: ${why}, and build again`);
  try {
    buildShim();
  } catch (error) {
    console.error((error as Error).message);
    process.exit(1);
  }
}
