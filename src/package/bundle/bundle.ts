/** Bundles a module on this machine into the files that a worker loads: code, the files that it imports, packages of npm. */
import { type Stats, readFileSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, extname, join, relative, resolve } from "node:path";
import { ModuleLoadError } from "../../base/errors.ts";
import {
  PackagesRefused,
  type Unforeseen,
  compile,
  effectiveModules,
  noModule,
  pathBetween,
} from "./compile.ts";
import type { FolderMemory } from "./folder-memory.ts";
import { Installation } from "./installed.ts";
import { type Kept, keptFiles, overtaken } from "./kept-files.ts";
import { Layout, type Origin } from "./layout.ts";
import { type GraphModule, ModuleGraph } from "./module-graph.ts";
import { packageFiles, standIns } from "./npm-files.ts";
import { isCode, mayBeBeside, namedBeside, readsFiles, usesPlace } from "./module-scan.ts";
import type { PackedFile } from "../contents/package.ts";

export interface Bundle {
  /** The file to load, by its path in the package. */
  entry: string;
  files: PackedFile[];
  /** Absolute paths of all inputs: while none of them changes, a new bundle would be the same. */
  inputs: string[];
  /** Whether a fresh process, whose resolver remembers nothing, may find more. */
  doubtful: boolean;
  /** Where the files of the package come from. */
  origins: Origin[];
  /** Files that the author's modules name beside themselves and the bundle lacks, each with the module that names it. */
  absent: Absent[];
}

export interface Absent {
  module: string;
  /** From the folder of the module to run; empty where it names nothing, undefined for modules that only a run tells. */
  name: string | undefined;
}

/** Each attempt applies what the previous one has found. */
const MAX_ATTEMPTS = 20;

/**
 * Bundles the module at an absolute path with all that it imports.
 *
 * @throws {LeftToAnother} with `memory`: another process is to do it
 * @throws {ModuleLoadError} it does not compile: the compiler's messages, with file, line and the line's text
 * @throws {PackageInvalid} packages of npm cannot be brought along
 * @throws {UsageError} one of `external` is not installed
 */
export async function bundleModule(
  path: string,
  external: readonly string[],
  memory?: FolderMemory,
): Promise<Bundle> {
  if (!isCode(path)) throw noModule(path);
  const entry = realpathSync(path);
  const installation = new Installation();
  const graph = new ModuleGraph(entry, installation, memory);
  const refused = new Set<string>();
  const apart = new Set<string>();
  for (let attempt = 0; ; attempt++) {
    const named = filesNamed(graph);
    const kept = await keepInOrder(graph, named, [...named.modules, ...apart], (roots) =>
      keptFiles(graph, installation, roots, external, refused),
    );
    const layout = new Layout(graph, kept, named.data);
    try {
      const made = await filesOfModule(path, graph, kept, layout);
      if (made.unforeseen.length > 0 && attempt < MAX_ATTEMPTS) {
        for (const { importer, edge } of made.unforeseen) graph.learn(importer, edge);
        continue;
      }
      if (made.renamed.length > 0 && attempt < MAX_ATTEMPTS) {
        for (const module of made.renamed) apart.add(module);
        continue;
      }
      const files = new Map(made.files.map((file) => [file.path, file]));
      for (const data of named.data) add(files, { path: layout.of(data), content: { path: data } });
      for (const file of standIns(graph, kept, layout)) add(files, file);
      for (const file of packageFiles(graph, kept, layout)) add(files, file);
      describeOwn(graph, kept, layout, files);
      return {
        entry: made.entry,
        files: [...files.values()],
        inputs: [...inputsOf(graph, kept), ...named.data],
        doubtful: graph.doubtful.length > 0,
        origins: layout.origins(),
        absent: named.absent,
      };
    } catch (error) {
      if (!(error instanceof PackagesRefused) || attempt >= MAX_ATTEMPTS) throw error;
      // They may run as they are.
      for (const module of error.modules) refused.add(graph.modules.get(module)!.owner!.folder);
    }
  }
}

/** Keeps the order of evaluation that the author's imports define. */
async function keepInOrder(
  graph: ModuleGraph,
  { data }: Named,
  roots: readonly string[],
  keep: (roots: Iterable<string>) => Kept,
): Promise<Kept> {
  let kept = keep(roots);
  const { entry } = graph;
  const isMixed =
    !kept.files.has(entry) &&
    graph.loadedWithEntry().some((at) => kept.files.has(at) && graph.modules.get(at)!.esm);
  if (!isMixed) return kept;
  const layout = new Layout(graph, kept, data);
  const effective = await effectiveModules({
    path: entry,
    place: layout.of(entry),
    graph,
    isFile: (at) => kept.files.has(at) && isImportable(at),
    placeOf: (at) => layout.of(at),
  });
  for (;;) {
    const early = overtaken(graph, kept.files, effective);
    if (early.length === 0) return kept;
    kept = keep([...kept.files, ...early]);
  }
}

/** Whether the worker can import the file; the compiler compiles other data in. */
function isImportable(path: string): boolean {
  return isCode(path) || path.endsWith(".node");
}

/** A name that the compiler, the package and the node accept unchanged. */
export function safeName(name: string): string {
  return name.replace(/[^\w.-]/g, "_").slice(0, 200) || "_";
}

interface Named {
  modules: Set<string>;
  data: Set<string>;
  absent: Absent[];
}

/** Files that the author's modules name by their own place. Their modules come into the graph. */
function filesNamed(graph: ModuleGraph): Named {
  const named: Named = { modules: new Set(), data: new Set(), absent: [] };
  // A named module may name further files.
  for (const { path, text, owner, placeBound, computed } of graph.modules.values()) {
    if (owner || text === undefined || !placeBound) continue;
    if (computed) named.absent.push({ module: path, name: undefined });
    const before = named.data.size + named.absent.length;
    for (const name of namedBeside(text)) {
      const at = resolve(dirname(path), name);
      const found = statOf(at);
      // A folder above the module is only where its search begins.
      if (!found || at === path || path.startsWith(`${at}/`)) continue;
      // Folders may hold anything; files with a dot are for tools and their secrets.
      if (!found.isFile() || /(^|\/)\.[^./]/.test(name))
        named.absent.push({ module: path, name: relative(dirname(graph.entry), at) });
      else if (isCode(at)) {
        const real = realpathSync(at);
        graph.add(real);
        named.modules.add(real);
      } else named.data.add(at);
    }
    if (!usesPlace(text)) continue;
    for (const name of mayBeBeside(text)) {
      const at = resolve(dirname(path), name);
      if (!isCode(at) && statOf(at)?.isFile()) named.data.add(at);
    }
    if (named.data.size + named.absent.length === before && readsFiles(text))
      named.absent.push({ module: path, name: "" });
  }
  return named;
}

/** The file's stats; undefined when there is no file, or the text is no path. */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

interface Made {
  entry: string;
  files: PackedFile[];
  unforeseen: Unforeseen[];
  renamed: string[];
}

/** The code of the module, and the author's files that it needs beside it. */
async function filesOfModule(
  path: string,
  graph: ModuleGraph,
  kept: Kept,
  layout: Layout,
): Promise<Made> {
  const { entry } = graph;
  const files: PackedFile[] = [];
  const unforeseen: Unforeseen[] = [];
  const renamed: string[] = [];
  const isKept = (at: string) => kept.files.has(at) && isImportable(at);
  const placeOf = (at: string) => (at === entry ? entryPlace : layout.of(at));
  const name = safeName(basename(path));
  const stem = safeName(basename(path, extname(path)));
  const folder = dirname(layout.of(entry));
  const taken = [...kept.files].some((at) => layout.of(at) === join(folder, `${stem}.js`));
  const entryPlace = kept.files.has(entry)
    ? join(folder, name)
    : join(folder, taken ? `${stem}.bundle.js` : `${stem}.js`);
  const task = { graph, placeOf };
  if (!kept.files.has(entry)) {
    // Stacks name the module as its author does.
    const compiled = await compile({
      ...task,
      path: entry,
      place: entryPlace,
      isFile: isKept,
      placeOf: layout.of.bind(layout),
    });
    files.push(...compiled.files);
    unforeseen.push(...compiled.unforeseen);
    renamed.push(...compiled.renamed);
  }
  const loaded = new Set(graph.loadedWithEntry());
  for (const at of kept.files) {
    const module = graph.modules.get(at)!;
    if (loaded.has(at)) requireImports(module, path);
    if (module.owner && !module.owner.linked) continue;
    const place = placeOf(at);
    if (module.esm) {
      const compiled = await compile({ ...task, path: at, place, isFile: isImportable });
      files.push(...compiled.files);
      unforeseen.push(...compiled.unforeseen);
    } else
      files.push({ path: place, content: redirected(module, place, placeOf), executable: false });
  }
  return { entry: entryPlace, files, unforeseen, renamed };
}

/** Throws when a module's unconditional import is missing. */
function requireImports({ path, edges }: GraphModule, entry: string): void {
  const missing = edges.find(
    ({ kind, target, provided }) =>
      kind === "import-statement" && target === undefined && provided === undefined,
  );
  if (missing)
    throw new ModuleLoadError(
      "RFAAS_MODULE_FAILED",
      entry,
      `Could not resolve: "${missing.specifier}", which ${path} imports; correct the name, or run npm install`,
    );
}

/** The author's own CommonJS, with its imports rewritten to the places of the files in the package. */
function redirected(
  { path, text, edges }: GraphModule,
  place: string,
  placeOf: (path: string) => string,
): PackedFile["content"] {
  if (text === undefined) return { path };
  let code = text;
  for (const { specifier, target, provided } of edges) {
    const way = provided ?? (target && pathBetween(dirname(place), placeOf(target)));
    if (way === undefined || way === specifier) continue;
    if (/^\.\.?\//.test(specifier) && isSameWay(specifier, way, place)) continue;
    const quoted = specifier.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
    const call = new RegExp(
      `(\\brequire(?:\\s*\\.\\s*resolve)?\\s*\\(\\s*|\\bimport\\s*\\(\\s*|\\bfrom\\s*)(["'\`])${quoted}\\2`,
      "g",
    );
    code = code.replace(call, (_, before: string) => before + JSON.stringify(way));
  }
  return code === text ? { path } : new TextEncoder().encode(code);
}

/** Whether a relative import leads where it should when the runtime adds an extension or `/index`. */
function isSameWay(specifier: string, way: string, place: string): boolean {
  const named = resolve("/", dirname(place), specifier);
  const target = resolve("/", dirname(place), way);
  return target === named || target.startsWith(`${named}.`) || target.startsWith(`${named}/`);
}

/** Gives the author's files that stay CommonJS a `package.json` with the `type` of the one above them. */
function describeOwn(
  graph: ModuleGraph,
  kept: Kept,
  layout: Layout,
  files: Map<string, PackedFile>,
): void {
  for (const path of kept.files) {
    const { owner, esm, text } = graph.modules.get(path)!;
    if (owner || esm || text === undefined || !/\.[jt]sx?$/.test(path)) continue;
    const type = typeAbove(path);
    if (type === undefined) continue;
    const content = new TextEncoder().encode(`${JSON.stringify({ type })}\n`);
    add(files, { path: join(dirname(layout.of(path)), "package.json"), content });
  }
}

function typeAbove(path: string): string | undefined {
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    const text = readText(join(folder, "package.json"));
    if (text !== undefined) {
      try {
        const { type } = JSON.parse(text) as { type?: unknown };
        return typeof type === "string" ? type : undefined;
      } catch {
        return undefined;
      }
    }
    if (dirname(folder) === folder) return undefined;
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function add(
  files: Map<string, PackedFile>,
  { path, content, executable = false }: Omit<PackedFile, "executable"> & { executable?: boolean },
): void {
  if (!files.has(path)) files.set(path, { path, content, executable });
}

function inputsOf(graph: ModuleGraph, { whole }: Kept): string[] {
  const packages = new Set(whole);
  for (const { owner } of graph.modules.values()) if (owner) packages.add(owner);
  return [
    ...graph.modules.keys(),
    ...[...packages].map(({ folder }) => join(folder, "package.json")),
  ].filter((path) => statSync(path, { throwIfNoEntry: false }));
}

/** The `tsconfig.json` and `package.json` above a module say how it compiles. */
export function settingsOf(path: string): string[] {
  const settings: string[] = [];
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    settings.push(join(folder, "tsconfig.json"), join(folder, "package.json"));
    if (dirname(folder) === folder) return settings;
  }
}
