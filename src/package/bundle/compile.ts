/** Compiles the author's code into code for workers, with a source map that names files by their place in the package. */
import { basename, dirname, join, relative, resolve } from "node:path";
import type { BuildArtifact, BuildConfig, BuildOutput, PluginBuilder } from "bun";
import { ModuleLoadError } from "../../base/errors.ts";
import { describeBuildError } from "./build-error.ts";
import type { Edge, ModuleGraph } from "./module-graph.ts";
import { type ImportKind, isCode } from "./module-scan.ts";
import type { PackedFile } from "../contents/package.ts";
import { renamedModules } from "./renamed.ts";

/**
 * The bundler writes the place of an imported file as text, from the current directory. This stands for the package's folder until
 * an expression of the same length takes its place: the source map counts columns.
 */
const ASSET_FOLDER = "rfaas:asset-dir:";
/** Placeholders, likewise, for values that the compiler would write as paths of this machine. */
const PLACES = {
  __dirname: ["__rfaas_dir____", "import.meta.dir"],
  __filename: ["__rfaas_path____", "import.meta.path"],
} as const;

export interface CompileTask {
  /** Real path. */
  path: string;
  /** Where the code will lie in the package. */
  place: string;
  graph: ModuleGraph;
  /** Whether a module or data stays a file, and is imported as one. */
  isFile: (path: string) => boolean;
  placeOf: (path: string) => string;
}

export interface Compiled {
  files: PackedFile[];
  /** Imports that the compiler has found and the scan of the text has not. */
  unforeseen: Unforeseen[];
  /** Real paths of modules that would have names of their own if they were not joined with the others. */
  renamed: string[];
}

export interface Unforeseen {
  importer: string;
  edge: Edge;
}

/** The compiler refuses modules, all of them in packages of npm. */
export class PackagesRefused extends Error {
  override readonly name = "PackagesRefused";
  /** Real paths of the modules. */
  readonly modules: readonly string[];
  constructor(modules: readonly string[]) {
    super(`cannot compile ${modules.join(", ")}`);
    this.modules = modules;
  }
}

/** Joins a module with all it imports that is no file of its own. Throws {@link ModuleLoadError}, {@link PackagesRefused}. */
export async function compile(task: CompileTask): Promise<Compiled> {
  const unforeseen: Unforeseen[] = [];
  const output = await Bun.build({
    ...settingsFor(task, unforeseen),
    entrypoints: [task.path],
    sourcemap: "external",
    // A package's claim about its side effects is its author's guess, and `bun run` does not trust it.
    ignoreDCEAnnotations: true,
  });
  if (!output.success) throw failure(task.path, output, task.graph);
  const code = output.outputs.find(({ kind }) => kind === "entry-point");
  if (!code || code.loader === "file") throw noModule(task.path);
  const inputs = Object.keys(output.metafile?.inputs ?? {});
  return {
    files: await filesOf(output, code, inputs, task),
    unforeseen,
    renamed: renamedModules(await code.text(), inputs, task.graph),
  };
}

const PROBE = "rfaas:probe";

/** Real paths of the modules that do something when they are loaded, as far as the compiler can tell. */
export async function effectiveModules(task: CompileTask): Promise<Set<string>> {
  const settings = settingsFor(task, []);
  const output = await Bun.build({
    ...settings,
    entrypoints: [PROBE],
    plugins: [
      {
        name: "nothing but side effects",
        setup(build) {
          build.onResolve({ filter: /^rfaas:probe$/ }, ({ path }) => ({
            path,
            namespace: "probe",
          }));
          build.onLoad({ filter: /.*/, namespace: "probe" }, () => ({
            contents: `import ${JSON.stringify(task.path)};`,
            loader: "js",
          }));
        },
      },
      ...settings.plugins,
    ],
  });
  const written = Object.values(output.metafile?.outputs ?? {}).flatMap(({ inputs }) =>
    Object.entries(inputs),
  );
  if (!output.success) return new Set(task.graph.modules.keys());
  return new Set(
    written.filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([path]) => resolve(path)),
  );
}

function settingsFor(task: CompileTask, unforeseen: Unforeseen[]) {
  const { place, graph } = task;
  const loaded = new Set(graph.loadedWithEntry());
  const asFile = (path: string) => ({ path, external: true });
  const onResolve = (importer: string, specifier: string, kind: string) => {
    const known = graph.edge(importer, specifier, kind as ImportKind);
    const edge = known ?? graph.resolve(importer, specifier, kind as ImportKind);
    if (!known) unforeseen.push({ importer, edge });
    const { provided, target } = edge;
    if (provided !== undefined)
      return /^(node|bun|data):|^bun$/.test(provided) ? undefined : asFile(provided);
    if (target === undefined)
      return kind === "import-statement" && loaded.has(importer) ? undefined : asFile(specifier);
    if (task.isFile(target) || kind === "require-resolve")
      return asFile(pathBetween(dirname(place), task.placeOf(target)));
    return isCode(target) ? { path: target } : undefined;
  };
  return {
    target: "bun" as const,
    format: "esm" as const,
    metafile: true as const,
    publicPath: `${ASSET_FOLDER}/`,
    throw: false as const,
    // Left to the node, which sets it at run time.
    define: {
      "process.env.NODE_ENV": "process.env.NODE_ENV",
      "Bun.env.NODE_ENV": "Bun.env.NODE_ENV",
      __dirname: PLACES.__dirname[0],
      __filename: PLACES.__filename[0],
    },
    jsx: { development: false },
    plugins: [
      {
        name: "the runtime's own resolver",
        setup(build: PluginBuilder) {
          build.onResolve({ filter: /.*/ }, ({ path, importer, kind }) =>
            kind.startsWith("entry-point") || importer === PROBE
              ? undefined
              : onResolve(importer, path, kind),
          );
        },
      },
    ],
  } satisfies Partial<BuildConfig>;
}

/** An import of `to` from a folder, both by their path from the package's root. */
export function pathBetween(folder: string, to: string): string {
  const way = relative(`/${folder}`, `/${to}`);
  return way.startsWith("../") ? way : `./${way}`;
}

function failure(path: string, output: BuildOutput, graph: ModuleGraph): Error {
  const errors = output.logs.filter(({ level }) => level === "error");
  const modules = errors.map(({ position }) => position?.file ?? "");
  if (errors.length > 0 && modules.every((module) => graph.modules.get(module)?.owner))
    return new PackagesRefused([...new Set(modules)]);
  const message = errors.slice(0, 10).map(describeBuildError).join("\n");
  return new ModuleLoadError(
    "RFAAS_MODULE_FAILED",
    path,
    message || `${path} does not compile, and the compiler does not say why`,
    { cause: errors[0] },
  );
}

async function filesOf(
  output: BuildOutput,
  code: BuildArtifact,
  inputs: readonly string[],
  task: CompileTask,
): Promise<PackedFile[]> {
  const map = output.outputs.find(({ kind }) => kind === "sourcemap");
  const content = await loadable(code, map, inputs, task);
  const files: PackedFile[] = [{ path: task.place, content, executable: false }];
  for (const other of output.outputs)
    if (other !== code && other.kind !== "sourcemap")
      files.push({
        path: join(dirname(task.place), basename(other.path)),
        content: new Uint8Array(await other.arrayBuffer()),
        executable: false,
      });
  return files;
}

export function noModule(path: string): ModuleLoadError {
  return new ModuleLoadError(
    "RFAAS_MODULE_FAILED",
    path,
    `${path} is no module; name TypeScript, JavaScript, a .so or a .wasm`,
  );
}

/** The code as it is packed. Its map travels with it, and names the author's files from the folder of the code. */
async function loadable(
  code: BuildArtifact,
  map: BuildArtifact | undefined,
  inputs: readonly string[],
  { graph, place, placeOf }: CompileTask,
): Promise<Uint8Array> {
  // The compiler marks each file's code by a comment with its path from the current directory.
  const marks = new Set(inputs.map((input) => `// ${input}`));
  let text = (await code.text())
    .replace(/\n\/\/# debugId=\w+\s*$/, "\n")
    .split("\n")
    .map((line) => (marks.has(line) ? "//" : line))
    .join("\n")
    .replaceAll(`"${ASSET_FOLDER}`, 'import.meta.dir+"');
  for (const [stand, expression] of Object.values(PLACES))
    text = text.replaceAll(stand, expression);
  if (!map) return new TextEncoder().encode(text);
  const { sources, mappings, names } = (await map.json()) as {
    sources: string[];
    mappings: string;
    names: string[];
  };
  const own = JSON.stringify({
    version: 3,
    sources: sources.map((source) => {
      const path = resolve(source);
      return graph.modules.has(path)
        ? relative(`/${dirname(place)}`, `/${placeOf(path)}`)
        : basename(source);
    }),
    // The runtime refuses a map without them, and has no use for what is in them.
    sourcesContent: sources.map(() => ""),
    names,
    mappings,
  });
  const url = `data:application/json;base64,${Buffer.from(own).toString("base64")}`;
  return new TextEncoder().encode(`${text}//# sourceMappingURL=${url}\n`);
}
