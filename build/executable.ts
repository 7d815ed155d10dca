/**
 * Builds the executable: `bun run build/executable.ts [--quiet] [PLATFORM]` writes `dist/rfaas`, one file that needs nothing else, or
 * `dist/PLATFORM/rfaas` for another machine.
 *
 * Three surprising requirements: the format must be ESM, or workers do not start; the worker's entry point must be listed, or Bun
 * does not embed it; and an executable must not read the `.env` or `bunfig.toml` of the folder that it is started in, but needs the
 * `package.json` and `tsconfig.json` of the user's module to resolve its imports.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { buildShim } from "../ffi/build.ts";
import { WORKER_ENTRY_POINTS } from "../src/base/workers.ts";
import { classNames } from "./library/class-names.ts";
import { buildKit } from "./library/kit.ts";
import { bunOf } from "./target/bun.ts";
import { PLATFORMS, type Platform, architectureOf, thisPlatform } from "./target/platform.ts";

const SRC = join(import.meta.dir, "..", "src");
const OUT = join(import.meta.dir, "..", "dist");
const KIT = join(OUT, "kit.json.zst");

/** Of zstd's 22: higher ones take longer than the rest of the build. */
const KIT_LEVEL = 19;

let kit: Promise<Uint8Array> | undefined;

/** Most of it is declarations, which come to a seventh of their size. */
async function packedKit(): Promise<Uint8Array> {
  return Bun.zstdCompressSync(JSON.stringify(await buildKit()), { level: KIT_LEVEL });
}

let before: Promise<unknown> = Promise.resolve();

/** Returns the path of the executable. One is built at a time: the compiler works in the current directory. */
export function buildExecutable(platform: Platform = thisPlatform()): Promise<string> {
  const built = before.then(() => build(platform));
  before = built.catch(() => {});
  return built;
}

/** The shim that is embedded is the platform's. */
const shimOf = (platform: Platform): Bun.BunPlugin => ({
  name: "shim",
  setup({ onResolve }) {
    const path = buildShim(architectureOf(platform));
    onResolve({ filter: /\/librfaas\.so$/ }, () => ({ path }));
  },
});

async function build(platform: Platform): Promise<string> {
  const bun = bunOf(platform);
  mkdirSync(OUT, { recursive: true });
  // Temporary files of an interrupted build; Bun works in the current directory.
  for (const name of readdirSync(OUT))
    if (name.startsWith(".")) rmSync(join(OUT, name), { recursive: true });
  writeFileSync(KIT, await (kit ??= packedKit()));
  const startedIn = process.cwd();
  // The name of the file is among its bytes, so it is always the same one, in a folder of this build.
  const folder = join(OUT, `.build.${process.pid}`);
  mkdirSync(folder);
  process.chdir(folder);
  const fresh = join(folder, "rfaas");
  try {
    await compile(fresh, platform, bun);
  } finally {
    process.chdir(startedIn);
  }
  const executable = bun === undefined ? join(OUT, "rfaas") : join(OUT, platform, "rfaas");
  mkdirSync(dirname(executable), { recursive: true });
  renameSync(fresh, executable);
  rmSync(folder, { recursive: true });
  return executable;
}

async function compile(outfile: string, platform: Platform, bun?: string): Promise<void> {
  await Bun.build({
    entrypoints: ["main.ts", ...WORKER_ENTRY_POINTS].map((path) => join(SRC, path)),
    format: "esm",
    bytecode: true,
    splitting: true,
    minify: { whitespace: true, syntax: true, identifiers: false },
    sourcemap: "none",
    define: { RFAAS_COMPILED: "true" },
    plugins: [shimOf(platform), classNames],
    compile: {
      ...(bun !== undefined && { executablePath: bun }),
      outfile,
      autoloadDotenv: false,
      autoloadBunfig: false,
      autoloadPackageJson: true,
      autoloadTsconfig: true,
    },
  });
}

if (import.meta.main) {
  const named = process.argv.slice(2).find((argument) => !argument.startsWith("-"));
  const platform = named === undefined ? thisPlatform() : PLATFORMS.find((name) => name === named);
  if (!platform) {
    console.error(`no executable is built for ${named}; there are ${PLATFORMS.join(", ")}`);
    process.exit(2);
  }
  const executable = await buildExecutable(platform);
  if (!process.argv.includes("--quiet")) console.error(`built ${executable}`);
}
