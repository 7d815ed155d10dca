/**
 * Opens the compiled shim, once per thread, and hands its functions to the rest of `ffi/`.
 *
 * From source the library is opened where `ffi/build.ts` put it. In the executable it is an embedded file: it is copied to an
 * anonymous memory file and opened from there, which needs no temporary directory and leaves nothing behind. The npm package has
 * none: {@link findShimBy} says where it is. `RFAAS_SHIM=PATH` overrides all of them.
 */
import { type FFIFunction, dlopen, ptr } from "bun:ffi";
import { ShimUnavailable } from "./errors.ts";
import { LAYOUT } from "./layout.ts";
import { SYMBOLS } from "./symbols.ts";

/** Defined by the build of the npm package. */
declare const RFAAS_INSTALLED: boolean | undefined;

type Shim = ReturnType<typeof openShim>;
let shim: Shim | undefined;
let openedPath: string | undefined;

/** The shim's functions. Throws {@link ShimUnavailable} when it cannot be opened. */
export function native(): Shim {
  return (shim ??= openShim(shimPath()));
}

/** The path this process opened, for its worker threads: they open the same file and share its one copy. */
export function shimPath(): string {
  return (openedPath ??= process.env["RFAAS_SHIM"] || ownPath());
}

/** For a thread, before it uses the shim: where the main thread has opened it. */
export function useShimAt(path: string): void {
  openedPath = path;
}

const DESCRIPTOR = /^\/proc\/self\/fd\/(\d+)$/;

/** The shim as a child of this process can have it: its path, or the descriptor to let the child inherit. */
export function shimToInherit(): { path: string } | { fd: number } {
  const path = shimPath();
  const [, fd] = DESCRIPTOR.exec(path) ?? [];
  return fd === undefined ? { path } : { fd: Number(fd) };
}

/** Opens the shim that this process has inherited, and keeps what it starts from inheriting it, too. */
export function inheritShim(path: string): void {
  useShimAt(path);
  const [, inherited] = DESCRIPTOR.exec(path) ?? [];
  if (inherited === undefined) return;
  const fd = native().rfaas_duplicate(Number(inherited));
  native().rfaas_close(Number(inherited));
  useShimAt(`/proc/self/fd/${fd}`);
}

/** The shim as found elsewhere: a file, or what is in one. */
export type ShimSource = { path: string } | { bytes: Uint8Array };

let find: (() => ShimSource) | undefined;

/** Says how to find the shim where this code has none of its own, as in a package of npm. */
export function findShimBy(finder: () => ShimSource): void {
  find = finder;
}

function ownPath(): string {
  // In the npm package there is none: asked here, so that the build leaves its import out.
  if (typeof RFAAS_INSTALLED !== "undefined" && RFAAS_INSTALLED) {
    return foundPath();
  } else {
    const path = ownFile();
    return path.startsWith("/$bunfs/") ? anonymousCopy(files().readFileSync(path)) : path;
  }
}

function foundPath(): string {
  const found = find!();
  return "path" in found ? found.path : anonymousCopy(found.bytes);
}

/** The shim that this program was built with, to hand out. */
export function ownShim(): Uint8Array<ArrayBuffer> {
  return files().readFileSync(ownFile());
}

function ownFile(): string {
  if (typeof RFAAS_INSTALLED !== "undefined" && RFAAS_INSTALLED) {
    throw new ShimUnavailable("the npm package has no native shim; the rfaas executable has it");
  } else {
    try {
      const { shimFile } = require("./shim/shim-file.ts") as typeof import("./shim/shim-file.ts");
      // A bundle names the file that lies beside it.
      return shimFile.startsWith("/") ? shimFile : `${import.meta.dir}/${shimFile}`;
    } catch (cause) {
      throw new ShimUnavailable(
        `the native shim cannot be loaded (${(cause as Error).message}); run: npm run setup, where it has not been built`,
        { cause },
      );
    }
  }
}

/** Loaded by those who have no path: it would be the largest part of what a waiting host has loaded. */
function files(): typeof import("node:fs") {
  return require("node:fs");
}

/** Flags of `memfd_create`, and what makes `fcntl` forbid to write, grow and shrink it, as `<linux/memfd.h>` and `<fcntl.h>` have them. */
const CLOSED_ON_EXEC = 1;
const SEALABLE = 2;
const ADD_SEALS = 1033;
const ALL_SEALS = 0xf;

/** Copies the shim to memory and returns a path that opens it, valid in this process only. */
function anonymousCopy(bytes: Uint8Array): string {
  const libc = openLibc();
  const fd = libc.memfd_create(ptr(Buffer.from("rfaas-shim\0")), CLOSED_ON_EXEC | SEALABLE);
  if (fd < 0)
    throw new ShimUnavailable(
      "no memory can be opened for the native shim: too many open files, or no memory left; raise ulimit -n, or set RFAAS_SHIM to the path of librfaas.so",
    );
  try {
    for (let written = 0; written < bytes.length;) written += files().writeSync(fd, bytes, written);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const limit = code === "EFBIG" ? "raise ulimit -f" : "free some memory";
    throw new ShimUnavailable(
      `the native shim cannot be copied to memory (${message}); ${limit}, or set RFAAS_SHIM to the path of librfaas.so`,
      { cause },
    );
  }
  // The hosts of a node open this one copy: none of them may change it.
  libc.fcntl(fd, ADD_SEALS, ALL_SEALS);
  if (!files().existsSync("/proc/self/fd"))
    throw new ShimUnavailable(
      "the native shim cannot be opened without /proc; mount it, or set RFAAS_SHIM to the path of librfaas.so",
    );
  return `/proc/self/fd/${fd}`;
}

function openLibc() {
  const declared = {
    memfd_create: { args: ["ptr", "u32"], returns: "i32" },
    fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
  } as const;
  for (const name of ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"]) {
    try {
      return dlopen(name, declared).symbols;
    } catch {
      // Another C library may be there.
    }
  }
  throw new ShimUnavailable(
    "no C library could be opened; set RFAAS_SHIM to the path of librfaas.so",
  );
}

/** Further functions of the shim, as declared: those of one fabric. Throws {@link ShimUnavailable} when they cannot be opened. */
export function openSymbols<Symbols extends Record<string, FFIFunction>>(declared: Symbols) {
  return open(shimPath(), declared);
}

function open<Symbols extends Record<string, FFIFunction>>(path: string, declared: Symbols) {
  try {
    return dlopen(path, declared).symbols;
  } catch (cause) {
    throw new ShimUnavailable(
      `the native shim ${path} cannot be opened (${(cause as Error).message}); ${remedy()}`,
      { cause },
    );
  }
}

/** For a file that is damaged, or is no shim. */
function remedy(): string {
  if (process.env["RFAAS_SHIM"]) return "unset RFAAS_SHIM";
  return typeof RFAAS_INSTALLED !== "undefined" && RFAAS_INSTALLED
    ? "remove node_modules, and run npm install again"
    : "where this is a checkout, run: npm run setup";
}

function openShim(path: string) {
  const symbols = open(path, SYMBOLS);
  const expected = Object.values(LAYOUT);
  const actual = new Uint32Array(new ArrayBuffer(4 * expected.length));
  const count = symbols.rfaas_layout(actual, actual.length);
  if (count !== expected.length || expected.some((number, index) => actual[index] !== number)) {
    throw new ShimUnavailable(
      `the native shim ${path} is of another version than this program: its memory layout differs; unset RFAAS_SHIM, or, from source, run: npm run setup`,
    );
  }
  return symbols;
}
