/**
 * All that a module can reach by names in its code and in that of what it imports, found by the runtime's own resolver: what
 * `bun run` would load.
 */
import { existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { createRequire, isBuiltin } from "node:module";
import { dirname, join } from "node:path";
import { ModuleLoadError } from "../../base/errors.ts";
import type { FolderMemory } from "./folder-memory.ts";
import { type Installation, type Installed, packageOfImport } from "./installed.ts";
import { LibraryEntries, providedModule } from "./provided-modules.ts";
import { type ImportKind, type Scan, isCode, requiredNames, scanModule } from "./module-scan.ts";

export interface Edge {
  specifier: string;
  kind: ImportKind;
  /** Real path of the file; undefined for what the runtime has itself, and for what is not there. */
  target: string | undefined;
  /** What the runtime or the worker calls it, if one of them has it. */
  provided: string | undefined;
}

export interface GraphModule {
  /** Real path. */
  path: string;
  /** Undefined for data. */
  text: string | undefined;
  esm: boolean;
  placeBound: boolean;
  evals: boolean;
  waits: boolean;
  computed: boolean;
  handedOn: readonly string[];
  edges: Edge[];
  owner: Installed | undefined;
}

/** Another process must bundle: this one may not see the current files, or the work would block its event loop for long. */
export class LeftToAnother extends Error {
  override readonly name = "LeftToAnother";
}

/** Looking into so many modules takes a tenth of a second, in which a program's event loop stands still. */
const MAX_MODULES_HERE = 300;

export class ModuleGraph {
  readonly modules = new Map<string, GraphModule>();
  /** Real path. */
  readonly entry: string;
  /** Imports that the runtime's resolver, which remembers folders, does not find, and for which there is something. */
  readonly doubtful: string[] = [];
  readonly #installation: Installation;
  readonly #entries = new LibraryEntries();
  readonly #memory: FolderMemory | undefined;
  readonly #fresh = new Set<string>();
  /** By kind and specifier: some modules have thousands. */
  readonly #edges = new Map<GraphModule, Map<string, Edge>>();

  /** With `memory`, throws {@link LeftToAnother} where the resolver may not see the current files, or where they are many. */
  constructor(entry: string, installation: Installation, memory?: FolderMemory) {
    this.entry = entry;
    this.#memory = memory;
    this.#installation = installation;
    this.add(entry);
  }

  /** Adds the module at a real path and all that it reaches. */
  add(path: string): void {
    const pending = [path];
    while (pending.length > 0) {
      const next = pending.pop()!;
      if (this.modules.has(next)) continue;
      if (this.#memory !== undefined && this.modules.size >= MAX_MODULES_HERE)
        throw new LeftToAnother();
      const module = this.#read(next);
      this.modules.set(next, module);
      for (const { target } of module.edges) if (target !== undefined) pending.push(target);
    }
  }

  /** What an import of a module leads to, if its text has named it. */
  edge(importer: string, specifier: string, kind: ImportKind): Edge | undefined {
    const module = this.modules.get(importer);
    if (module === undefined) return undefined;
    let edges = this.#edges.get(module);
    if (edges?.size !== module.edges.length) {
      edges = new Map(module.edges.map((edge) => [`${edge.kind} ${edge.specifier}`, edge]));
      this.#edges.set(module, edges);
    }
    return edges.get(`${kind} ${specifier}`);
  }

  /** Takes in an import that the compiler has found in a module, and all that it reaches. */
  learn(importer: string, edge: Edge): void {
    this.modules.get(importer)?.edges.push(edge);
    if (edge.target !== undefined) this.add(edge.target);
  }

  /** The package that `name` is for a package's own code. */
  installed(name: string, from: Installed): Installed | undefined {
    return this.#installation.find(name, from.folder);
  }

  /** Modules that `import` statements load with the entry, in the order of their evaluation. */
  loadedWithEntry(): string[] {
    const begun = new Set<string>();
    const loaded: string[] = [];
    const pending = [{ path: this.entry, next: 0 }];
    begun.add(this.entry);
    while (pending.length > 0) {
      const at = pending.at(-1)!;
      const edge = this.modules.get(at.path)!.edges[at.next++];
      if (edge === undefined) {
        loaded.push(at.path);
        pending.pop();
      } else if (edge.kind === "import-statement" && edge.target && !begun.has(edge.target)) {
        begun.add(edge.target);
        pending.push({ path: edge.target, next: 0 });
      }
    }
    return loaded;
  }

  #read(path: string): GraphModule {
    const owner = this.ownerOf(path);
    const nothing = {
      esm: false,
      placeBound: false,
      evals: false,
      waits: false,
      computed: false,
      handedOn: [],
    };
    if (!isCode(path)) return { path, text: undefined, ...nothing, edges: [], owner };
    const text = readFileSync(path, "utf8");
    const scan: Scan = scanModule(path, text) ?? {
      imports: requiredNames(text),
      // The compiler reports the error to the module's author.
      esm: owner === undefined && !/\.c[jt]s$/.test(path),
      placeBound: owner !== undefined,
      evals: false,
      waits: false,
      computed: false,
      handedOn: [],
    };
    const { imports, ...said } = scan;
    const edges = imports.map(({ specifier, kind }) => this.resolve(path, specifier, kind));
    return { path, text, ...said, edges, owner };
  }

  /** A package that links to itself is its author's own code. */
  ownerOf(path: string): Installed | undefined {
    const owner = this.#installation.ownerOf(path);
    const own = owner?.linked && this.entry.startsWith(`${owner.folder}/`);
    return own ? undefined : owner;
  }

  resolve(importer: string, specifier: string, kind: ImportKind): Edge {
    const edge = { specifier, kind, target: undefined, provided: undefined };
    const folder = dirname(importer);
    const provided = providedModule(specifier, folder, this.#installation);
    if (provided !== undefined) return { ...edge, provided };
    if (specifier.startsWith("rfaas/")) return { ...edge, provided: leftOut(importer, edge) };
    if (isBuiltin(specifier) || /^(bun|node|data|https?):/.test(specifier))
      return { ...edge, provided: specifier };
    const name = packageOfImport(specifier);
    // The runtime may fetch what is installed nowhere, which is not for a build to do.
    if (name && !this.#installation.find(name, folder) && !mayBeNamed(name, folder)) return edge;
    this.#requireFresh(folder);
    if (specifier.startsWith(".")) this.#requireFresh(dirname(join(folder, specifier)));
    let found: string;
    try {
      found =
        kind === "require-call" || kind === "require-resolve"
          ? createRequire(importer).resolve(specifier)
          : Bun.resolveSync(specifier, folder);
    } catch {
      if (this.#hasCandidate(specifier, folder)) this.doubtful.push(specifier);
      return edge;
    }
    if (!found.startsWith("/")) return { ...edge, provided: specifier };
    const path = found.replace(/\?.*$/, "");
    if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return edge;
    const target = realpathSync(path);
    const entry = this.#entries.nameOf(target);
    if (entry === undefined) return { ...edge, target };
    const own = providedModule(entry, folder, this.#installation);
    return { ...edge, provided: own ?? leftOut(importer, { specifier: entry, kind }) };
  }

  #requireFresh(folder: string): void {
    if (this.#memory === undefined || this.#fresh.has(folder)) return;
    if (!this.#memory.isFresh(folder)) throw new LeftToAnother();
    this.#fresh.add(folder);
  }

  #hasCandidate(specifier: string, folder: string): boolean {
    const name = packageOfImport(specifier);
    if (name) return this.#installation.find(name, folder) !== undefined;
    if (!specifier.startsWith(".")) return false;
    const stem = join(folder, specifier);
    return [stem, stem.replace(/\.([cm]?)js$/, ".$1ts")].some((path) =>
      ENDINGS.some((ending) => statSync(path + ending, { throwIfNoEntry: false })?.isFile()),
    );
  }
}

const ENDINGS = [
  "",
  ".ts",
  ".tsx",
  ".mts",
  ".js",
  ".mjs",
  ".cjs",
  ".json",
  "/index.ts",
  "/index.js",
];

/**
 * The name of a part of rfaas that workers do not have, which no package brings along. An import that only some runs reach may fail
 * when it is reached.
 */
function leftOut(importer: string, { specifier, kind }: Pick<Edge, "specifier" | "kind">): string {
  if (kind !== "import-statement") return specifier;
  throw new ModuleLoadError(
    "RFAAS_MODULE_FAILED",
    importer,
    `${importer} imports ${specifier}, which workers do not have; functions import rfaas/function or rfaas`,
  );
}

/** Whether settings above the folder may give a name to what is not in node_modules. */
function mayBeNamed(name: string, folder: string): boolean {
  for (let at = folder; ; at = dirname(at)) {
    for (const settings of ["tsconfig.json", "jsconfig.json"])
      if (existsSync(join(at, settings))) return true;
    if (nameIn(join(at, "package.json")) === name) return true;
    if (dirname(at) === at) return false;
  }
}

function nameIn(path: string): unknown {
  try {
    return (JSON.parse(readFileSync(path, "utf8")) as { name?: unknown }).name;
  } catch {
    return undefined;
  }
}
