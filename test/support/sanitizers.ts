/** A shim with the sanitizers of addresses, of undefined behaviour and of leaks, and what a process needs to run with it. */
import { existsSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { compileShim, compiler } from "../../ffi/build.ts";

export const SHIM = join(import.meta.dir, "..", "..", "ffi", "shim");
const FLAGS = [
  ...["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-O1", "-g"],
  "-fno-omit-frame-pointer",
];
/** Arguments of `bun test`: it looks for leaks at the end. */
export const LOOK_FOR_LEAKS = ["--preload", join(import.meta.dir, "leaks.ts")];
/** More arguments of it: wake-ups are seen without sanitizers, and where these and an emulator take all the time, none is in time. */
export const WITHOUT_LONG_TESTS = ["--test-name-pattern", "^(?!.*no wake-up is lost)"];
/** What a sanitizer prints when it finds something. */
export const FINDING = /runtime error:|ERROR: \w+Sanitizer/;
/** What a suite prints that has left no memory. */
export const NO_LEAKS = "leaks: none";

/** It must be loaded first, before the runtime, which does not know of it. */
const library = Bun.spawnSync([compiler() ?? "false", "-print-file-name=libasan.so"])
  .stdout.toString()
  .trim();

/** Why nothing can be run with sanitizers here; undefined where it can. */
export const lacksSanitizers = existsSync(library)
  ? undefined
  : "libasan is missing; apt-get install gcc";

/** Compiles the sources in `folder` to the library `out`. */
export function compileSanitized(folder: string, out: string): void {
  compileShim(folder, out, process.arch, [], FLAGS);
}

/** The environment of a process with such a shim. */
export function sanitizedBy(shim: string): Record<string, string> {
  return {
    RFAAS_SHIM: shim,
    LD_PRELOAD: realpathSync(library),
    // The runtime has a handler of its own, and keeps at its end what it has taken: leaks are looked for when a suite asks.
    ASAN_OPTIONS: "leak_check_at_exit=0:handle_segv=0:allow_user_segv_handler=1",
    LSAN_OPTIONS: `suppressions=${join(import.meta.dir, "leaks.suppressions")}`,
    UBSAN_OPTIONS: "print_stacktrace=1",
  };
}
