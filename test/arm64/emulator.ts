/**
 * QEMU's user-mode emulator: programs for arm64 run as processes of this machine, over its kernel. Each gets a starter, a program of
 * this machine's, so that nothing has to be registered with the kernel.
 */
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { bunOf } from "../../build/target/bun.ts";
import { compiler } from "../../ffi/build.ts";
import { run } from "../support/compilers.ts";
import { Scratch } from "../support/scratch.ts";

/** Where Debian has arm64's C library for cross compilers. */
const SYSROOT = "/usr/aarch64-linux-gnu";
const CROSS = "aarch64-linux-gnu-gcc";
const NEEDED = {
  "qemu-aarch64-static": "qemu-user-static",
  [CROSS]: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
};

/** Why nothing for arm64 can be built and run here, or null; says so. */
export function whyNot(): string | null {
  const reason = obstacle();
  if (reason) console.error(`SKIPPED: the tests of arm64 did not run: ${reason}`);
  return reason;
}

function obstacle(): string | null {
  if (process.platform !== "linux" || process.arch !== "x64")
    return `they emulate it on x86-64, and this is ${process.platform} on ${process.arch}`;
  const missing = Object.entries(NEEDED).filter(([program]) => !Bun.which(program));
  if (missing.length > 0 || !existsSync(join(SYSROOT, "lib", "ld-linux-aarch64.so.1")))
    return `programs are missing; run: apt-get install ${Object.values(NEEDED).join(" ")}`;
  try {
    bunOf("linux-arm64");
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

export class Emulator implements Disposable {
  readonly #scratch = new Scratch();
  readonly #preload = this.#scratch.join("prctl.so");

  constructor() {
    const from = join(import.meta.dir, "prctl.c");
    run([CROSS, "-O1", "-shared", "-fPIC", "-o", this.#preload, from], "/");
  }

  /** Returns the path of a program of this machine's that runs `program`. */
  starter(program: string): string {
    const to = this.#scratch.join(`start-${basename(program)}`);
    const macros = { PROGRAM: program, PRELOAD: this.#preload, SYSROOT };
    const defined = Object.entries(macros).map(([name, value]) => `-D${name}="${value}"`);
    run(
      [compiler()!, "-static", "-O1", ...defined, "-o", to, join(import.meta.dir, "start.c")],
      "/",
    );
    return to;
  }

  /** The starter of Bun itself, of the version that the executable is made of. */
  bun(): string {
    return this.starter(bunOf("linux-arm64")!);
  }

  [Symbol.dispose](): void {
    this.#scratch[Symbol.dispose]();
  }
}
