/**
 * Builds the executable: `bun run build/executable.ts [--quiet]` writes `dist/rfaas`, one file that needs nothing else.
 *
 * Three surprising requirements: the format must be ESM, or workers do not start; the worker's entry point must be listed, or Bun
 * does not embed it; and an executable must not read the `.env` or `bunfig.toml` of the folder that it is started in, but needs the
 * `package.json` and `tsconfig.json` of the user's module to resolve its imports.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildShim } from "../ffi/build.ts";
import { buildKit } from "../src/commands/new/build-kit.ts";
import { WORKER_ENTRY_POINTS } from "../src/base/workers.ts";

const SRC = join(import.meta.dir, "..", "src");
const OUT = join(import.meta.dir, "..", "dist");
const KIT = join(OUT, "kit.json");

/** Returns the path of the executable. */
export async function buildExecutable(): Promise<string> {
  buildShim();
  mkdirSync(OUT, { recursive: true });
  // Temporary files of an interrupted build; Bun works in the current directory.
  for (const name of readdirSync(OUT))
    if (name.startsWith(".")) rmSync(join(OUT, name), { recursive: true });
  writeFileSync(KIT, JSON.stringify(await buildKit()));
  const startedIn = process.cwd();
  // The name of the file is among its bytes, so it is always the same one, in a folder of this build.
  const folder = join(OUT, `.build.${process.pid}`);
  mkdirSync(folder);
  process.chdir(folder);
  const fresh = join(folder, "rfaas");
  await Bun.build({
    entrypoints: ["main.ts", ...WORKER_ENTRY_POINTS].map((path) => join(SRC, path)),
    format: "esm",
    bytecode: true,
    splitting: true,
    minify: { whitespace: true, syntax: true, identifiers: false },
    sourcemap: "none",
    define: { RFAAS_COMPILED: "true" },
    compile: {
      outfile: fresh,
      autoloadDotenv: false,
      autoloadBunfig: false,
      autoloadPackageJson: true,
      autoloadTsconfig: true,
    },
  });
  process.chdir(startedIn);
  const executable = join(OUT, "rfaas");
  renameSync(fresh, executable);
  rmSync(folder, { recursive: true });
  return executable;
}

if (import.meta.main) {
  const executable = await buildExecutable();
  if (!process.argv.includes("--quiet")) console.error(`built ${executable}`);
}
