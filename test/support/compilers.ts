/** Compiling native functions for tests, with whatever compilers the machine has. A C compiler is always there: the shim needs one. */
import { test } from "bun:test";
import { compiler } from "../../ffi/build.ts";

/** Runs a compiler; throws with what it says. */
export function run(command: readonly string[], cwd: string): void {
  const done = Bun.spawnSync([...command], { cwd, stdout: "pipe", stderr: "pipe" });
  if (!done.success) throw new Error(`${command.join(" ")}\n${done.stderr}${done.stdout}`);
}

/** Builds a shared library from C source text. Returns its path. */
export function buildLibrary(
  folder: { file(name: string, text: string): string; join(name: string): string },
  name: string,
  source: string,
  flags: readonly string[] = [],
): string {
  const from = folder.file(`${name}.c`, source);
  const to = folder.join(`${name}.so`);
  run([compiler()!, "-O1", "-shared", "-fPIC", ...flags, "-o", to, from], "/");
  return to;
}

/** `test`, or where a program is missing a skipped test and a line that says so. */
export function testWith(programs: readonly string[]): typeof test | typeof test.skip {
  const missing = programs.filter((program) => !Bun.which(program));
  if (missing.length === 0) return test;
  console.error(
    `SKIPPED: no ${missing.join(", ")} on this machine; apt-get install g++ gfortran clang lld rustc`,
  );
  return test.skip;
}
