/**
 * Which modules stay files of their own in a package. ES modules are joined into one file, which loads faster; what would then run
 * otherwise than it does where it was written stays as it is: CommonJS, and whatever looks for its own place on the disk. A package
 * of npm with such a module comes with all of its files, and with those that it says it needs.
 */
import { dirname, join } from "node:path";
import { UsageError } from "../../base/errors.ts";
import { type Installation, type Installed, filesOf, isOfWorkers } from "./installed.ts";
import type { GraphModule, ModuleGraph } from "./module-graph.ts";
import { type ImportKind, isCode } from "./module-scan.ts";

export interface Kept {
  /** Real paths of modules and data. */
  files: ReadonlySet<string>;
  /** Packages of which every file comes along. */
  whole: ReadonlySet<Installed>;
  /** Those of them that only a run may name. */
  wished: readonly Installed[];
}

/**
 * Modules that would do something before files that are evaluated later, and do it after them when they are joined: a file is
 * imported before all code that is joined. `effective` are those that do anything when they are loaded. The runtime evaluates
 * CommonJS first in any case.
 */
export function overtaken(
  graph: ModuleGraph,
  files: ReadonlySet<string>,
  effective: ReadonlySet<string>,
): string[] {
  const loaded = graph.loadedWithEntry();
  const last = loaded.findLastIndex((path) => files.has(path) && graph.modules.get(path)!.esm);
  return loaded
    .slice(0, Math.max(0, last))
    .filter((path) => !files.has(path) && effective.has(path));
}

/**
 * `roots` are modules that are loaded by their place; `external` are names of packages that stay files by wish, `folders` those that
 * the compiler has refused.
 *
 * @throws {UsageError} one of `external` is not installed
 */
export function keptFiles(
  graph: ModuleGraph,
  installation: Installation,
  roots: Iterable<string>,
  external: readonly string[],
  folders: ReadonlySet<string>,
): Kept {
  const files = new Set(roots);
  const whole = new Set<Installed>();
  const reached = new Set<Installed>();
  for (const { owner } of graph.modules.values()) if (owner) reached.add(owner);
  for (const owner of reached)
    if (external.includes(owner.name) || folders.has(owner.folder) || installation.isNative(owner))
      whole.add(owner);
  const unreached = external.filter((name) => ![...reached].some((owner) => owner.name === name));
  const wished = unreached.map((name) => installedFor(name, dirname(graph.entry), installation));
  for (const found of wished) whole.add(found);

  // A call of `import()` or `require` evaluates the modules that wait for it.
  const loaded = new Set(graph.loadedWithEntry());
  const isLoose = (module: GraphModule): boolean =>
    files.has(module.path) ||
    !loaded.has(module.path) ||
    (module.owner !== undefined && whole.has(module.owner)) ||
    cannotBeJoined(module, graph.entry, files);
  for (let before = -1; before !== files.size + whole.size;) {
    before = files.size + whole.size;
    for (const module of graph.modules.values()) {
      for (const { kind, target } of module.edges)
        if (target !== undefined && mustBeFile(kind, target)) files.add(target);
      // Data is compiled in where code is.
      if (module.text === undefined ? !files.has(module.path) : !isLoose(module)) continue;
      files.add(module.path);
      if (module.placeBound && module.owner && !whole.has(module.owner)) {
        whole.add(module.owner);
        reachAll(graph, module.owner);
      }
      // A module that several others import must have one instance.
      for (const { target } of module.edges) if (target !== undefined) files.add(target);
    }
    addDependencies(whole, installation);
  }
  return { files, whole, wished };
}

/** What a package says it needs comes as whole as it does; a set hands out what is added meanwhile, too. */
function addDependencies(whole: Set<Installed>, installation: Installation): void {
  for (const { folder, dependencies } of whole)
    for (const name of dependencies) {
      const dependency = installation.find(name, folder);
      if (dependency) whole.add(dependency);
    }
}

/** Whether code would behave differently in one file with other code. */
function cannotBeJoined(module: GraphModule, entry: string, files: ReadonlySet<string>): boolean {
  if (module.text === undefined) return false;
  if (!module.esm || module.evals) return true;
  return module.path !== entry && (module.placeBound || module.waits || handsOn(module, files));
}

function installedFor(name: string, folder: string, installation: Installation): Installed {
  const found = installation.find(name, folder);
  if (found) return found;
  if (isOfWorkers(name))
    throw new UsageError(
      `external: workers have ${JSON.stringify(name)} of their own, and no package brings it along; leave it out`,
    );
  throw new UsageError(
    `external: ${JSON.stringify(name)} is not installed; check its spelling, and run npm install`,
  );
}

/** In a package with more files of code, only those that imports name are read. */
const MAX_READ = 1000;

/** Reads all code of a package: files that it finds by its own place may need packages that it does not declare. */
function reachAll(graph: ModuleGraph, owner: Installed): void {
  const code = filesOf(owner)
    .map(({ path }) => path)
    .filter((path) => isCode(path) && !path.endsWith(".d.ts") && !NOT_RUN.test(path));
  if (code.length <= MAX_READ) for (const path of code) graph.add(join(owner.folder, path));
}

const NOT_RUN = /(^|\/)(tests?|__tests__|bench(marks?)?|examples?|docs?|scripts?)\//;

/** The compiler loses `export *` of a file in a module that others import as a whole. */
function handsOn({ handedOn, edges }: GraphModule, files: ReadonlySet<string>): boolean {
  return edges.some(
    ({ specifier, target, provided }) =>
      handedOn.includes(specifier) &&
      (provided !== undefined || (target !== undefined && files.has(target))),
  );
}

/** Files whose path the code asks for, and native addons, which cannot be compiled in. */
function mustBeFile(kind: ImportKind, target: string): boolean {
  return kind === "require-resolve" || kind === "import-resolve" || target.endsWith(".node");
}

/** Folders from the one of `path` up to `top`, both included. */
export function foldersBetween(path: string, top: string): string[] {
  const folders: string[] = [];
  for (let at = dirname(path); ; at = dirname(at)) {
    folders.push(at);
    if (at === top || dirname(at) === at) return folders;
  }
}
