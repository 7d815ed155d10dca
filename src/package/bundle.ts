/** From a module on this machine to the files that a worker loads: one file of code, with a source map, and what it imports as files. */
import { realpathSync } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import type { BuildArtifact, BuildOutput } from "bun";
import { ModuleLoadError } from "../errors.ts";
import { describeBuildError } from "./build-error.ts";
import { Externals } from "./native-closure.ts";
import type { PackedFile } from "./package.ts";
import { isProvidedInput, providedModules } from "./provided-modules.ts";

export interface Bundle {
  /** The file to load, by its path in the package. */
  entry: string;
  files: PackedFile[];
  /** Absolute paths of all that went into it: when none of them has changed, a new bundle would be the same. */
  inputs: string[];
}

/**
 * The bundler writes the place of an imported file as text, from the current directory. This stands for the package's folder until
 * an expression of the same length takes its place: the source map counts columns.
 */
const FOLDER = "rfaas:asset-dir:";
const FOLDER_EXPRESSION = {
  esm: 'import.meta.dir+"',
  cjs: '__dirname+"'.padStart(FOLDER.length + 1),
};

type Format = keyof typeof FOLDER_EXPRESSION;

/**
 * Bundles the module at an absolute path with all that it imports.
 *
 * @throws {ModuleLoadError} it does not compile: the compiler's messages, with file, line and the line's text
 */
export async function bundleModule(path: string, external: readonly string[]): Promise<Bundle> {
  const externals = new Externals(external);
  let format: Format = "esm";
  let output = await compile(path, format, externals);
  // The exports of a CommonJS module have names only as long as it is one.
  if (formatOf(output, path) === "cjs") {
    format = "cjs";
    output = await compile(path, format, externals);
  }
  const code = output.outputs.find(({ kind }) => kind === "entry-point");
  if (!code || code.loader === "file" || !/\.js$/.test(code.path))
    throw new ModuleLoadError(
      "RFAAS_MODULE_FAILED",
      path,
      `${path} is no module; name TypeScript, JavaScript, a .so or a .wasm`,
    );
  const map = output.outputs.find(({ kind }) => kind === "sourcemap");
  const entry = `${safeName(basename(path, extname(path)))}.js`;
  const natives = externals.files();
  const files: PackedFile[] = [
    { path: entry, content: await loadable(code, map, format), executable: false },
    ...natives.files,
  ];
  for (const other of output.outputs)
    if (other !== code && other.kind !== "sourcemap")
      files.push({
        path: basename(other.path),
        content: new Uint8Array(await other.arrayBuffer()),
        executable: false,
      });
  const sources = Object.keys(output.metafile?.inputs ?? {})
    .filter((input) => !isProvidedInput(input))
    .map((input) => resolve(input));
  return { entry, files, inputs: [...sources, ...natives.inputs] };
}

/** A name that every part of the way can take as it is. */
export function safeName(name: string): string {
  return name.replace(/[^\w.-]/g, "_").slice(0, 200) || "_";
}

async function compile(path: string, format: Format, externals: Externals): Promise<BuildOutput> {
  let fault: unknown;
  const output = await Bun.build({
    entrypoints: [path],
    target: "bun",
    format,
    // Comments of a bundle name paths of this machine.
    minify: { whitespace: true },
    sourcemap: "external",
    metafile: true,
    publicPath: `${FOLDER}/`,
    throw: false,
    plugins: [
      providedModules,
      {
        name: "packages with native code",
        setup(build) {
          build.onResolve({ filter: /^[^./]/ }, ({ path: specifier, importer, kind }) => {
            if (kind === "entry-point-build" || kind === "entry-point-run") return undefined;
            try {
              return externals.claims(specifier, dirname(importer))
                ? { path: specifier, external: true }
                : undefined;
            } catch (error) {
              fault ??= error;
              return { path: specifier, external: true };
            }
          });
        },
      },
    ],
  });
  if (fault !== undefined) throw fault;
  if (output.success) return output;
  const errors = output.logs.filter(({ level }) => level === "error");
  const message = errors.slice(0, 10).map(describeBuildError).join("\n");
  throw new ModuleLoadError(
    "RFAAS_MODULE_FAILED",
    path,
    message || `${path} does not compile, and the compiler does not say why`,
    { cause: errors[0] },
  );
}

function formatOf(output: BuildOutput, path: string): string | undefined {
  const real = realpathSync(path);
  const inputs = Object.entries(output.metafile?.inputs ?? {});
  return inputs.find(([input]) => resolve(input) === path || resolve(input) === real)?.[1].format;
}

/**
 * The code as it is packed. Stacks name the user's own files and lines: the map travels with the code, and names them by absolute
 * paths.
 */
async function loadable(
  code: BuildArtifact,
  map: BuildArtifact | undefined,
  format: Format,
): Promise<Uint8Array> {
  const text = (await code.text())
    .replace(/\n\/\/# debugId=\w+\s*$/, "\n")
    .replaceAll(`"${FOLDER}`, FOLDER_EXPRESSION[format]);
  if (!map) return new TextEncoder().encode(text);
  const { sources, mappings, names } = (await map.json()) as {
    sources: string[];
    mappings: string;
    names: string[];
  };
  const own = JSON.stringify({
    version: 3,
    sources: sources.map((source) => (isProvidedInput(source) ? source : resolve(source))),
    // The runtime refuses a map without them, and has no use for what is in them.
    sourcesContent: sources.map(() => ""),
    names,
    mappings,
  });
  const url = `data:application/json;base64,${Buffer.from(own).toString("base64")}`;
  return new TextEncoder().encode(`${text}//# sourceMappingURL=${url}\n`);
}

/** The `tsconfig.json` and `package.json` above a module say how it compiles. */
export function settingsOf(path: string): string[] {
  const settings: string[] = [];
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    settings.push(join(folder, "tsconfig.json"), join(folder, "package.json"));
    if (dirname(folder) === folder) return settings;
  }
}
