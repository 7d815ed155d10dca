/** The layout of a package: the author's files as in their own folders, packages of npm in node_modules. */
import { existsSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { type Installed, packageOfImport } from "./installed.ts";
import { type Kept, foldersBetween } from "./kept-files.ts";
import type { ModuleGraph } from "./module-graph.ts";
import { placePackages } from "./placement.ts";

/** A folder of a package of ours that is a folder of this machine. */
export interface Origin {
  /** From the package's root, without a slash at its end; empty for the root. */
  prefix: string;
  folder: string;
}

/** Folders that share only a shorter path from the root of the disk are unrelated. */
const MIN_SHARED_DEPTH = 2;

export class Layout {
  /** Packages by their place. */
  readonly placed: ReadonlyMap<string, Installed>;
  readonly #graph: ModuleGraph;
  readonly #root: string;
  readonly #places = new Map<Installed, string>();
  readonly #outside: string[];

  /** `assets` are real paths of data of the author's. */
  constructor(graph: ModuleGraph, kept: Kept, assets: Iterable<string>) {
    this.#graph = graph;
    const own = [...graph.modules.values()].filter(({ owner }) => !owner).map(({ path }) => path);
    const home = dirname(graph.entry);
    const near = [...own, ...assets].filter((path) => isNear(sharedFolder(home, dirname(path))));
    this.#root = near.reduce((shared, path) => sharedFolder(shared, dirname(path)), home);
    this.#outside = [...new Set(own.map((path) => dirname(path)))]
      .filter((folder) => !isBelow(this.#root, folder))
      .sort();

    const needs = needsOf(graph, kept);
    const roots = new Set(kept.wished);
    for (const { owner, path, edges } of graph.modules.values())
      if (!owner || !kept.files.has(path))
        for (const { target } of edges) {
          const needed = target === undefined ? undefined : graph.modules.get(target)?.owner;
          if (needed && kept.files.has(target!)) roots.add(needed);
        }
    this.placed = placePackages(roots, (installed) => needs.get(installed) ?? []);
    for (const [place, installed] of this.placed)
      if (!this.#places.has(installed)) this.#places.set(installed, place);
    // Code that is joined with other code lies nowhere, but stacks name it.
    for (const { owner } of graph.modules.values())
      if (owner && !this.#places.has(owner)) this.#places.set(owner, this.#freePlace(owner.name));
  }

  /** Where the author's folder, or a file that is or was a module, lies in the package. */
  of(path: string): string {
    const owner = this.#graph.modules.get(path)?.owner;
    if (owner) return join(this.#places.get(owner)!, relative(owner.folder, path));
    if (isBelow(this.#root, path)) return relative(this.#root, path);
    const index = this.#outside.indexOf(dirname(path));
    return join("outside", String(index), basename(path));
  }

  /** What the client needs to name the author's files by their own paths. */
  origins(): Origin[] {
    return [
      { prefix: "", folder: this.#root },
      ...this.#outside.map((folder, index) => ({ prefix: `outside/${index}`, folder })),
      ...[...this.#places].map(([{ folder }, prefix]) => ({ prefix, folder })),
    ];
  }

  #freePlace(name: string): string {
    const taken = new Set(this.#places.values());
    const place = `node_modules/${name}`;
    for (let i = 2; ; i++) {
      if (!taken.has(place)) return place;
      if (!taken.has(`${place}@${i}`)) return `${place}@${i}`;
    }
  }
}

/** Which packages a package must find by name. */
function needsOf(graph: ModuleGraph, { files, whole }: Kept): Map<Installed, Set<Installed>> {
  const needs = new Map<Installed, Set<Installed>>();
  const add = (from: Installed, to: Installed | undefined) => {
    const known = needs.get(from) ?? new Set();
    needs.set(from, known);
    if (to && to !== from) known.add(to);
  };
  for (const { owner, path, edges } of graph.modules.values()) {
    if (!owner || !files.has(path)) continue;
    for (const { target } of edges)
      add(owner, target === undefined ? undefined : graph.modules.get(target)?.owner);
  }
  for (const installed of whole)
    for (const name of installed.dependencies) add(installed, graph.installed(name, installed));
  return needs;
}

/**
 * Files of packages of npm that say how the runtime resolves what a kept file names: the `package.json` of each folder on the way,
 * and of folders that imports name.
 */
export function descriptionsOf(graph: ModuleGraph, path: string, owner: Installed): string[] {
  const folders = foldersBetween(path, owner.folder);
  for (const { specifier } of graph.modules.get(path)?.edges ?? []) {
    if (specifier.startsWith(".")) folders.push(join(dirname(path), specifier));
    const name = packageOfImport(specifier);
    const needed = name && graph.installed(name, owner);
    if (needed) folders.push(join(needed.folder, specifier.slice(name.length)));
  }
  return folders.map((folder) => join(folder, "package.json")).filter((file) => existsSync(file));
}

function isNear(shared: string): boolean {
  return shared.split("/").filter(Boolean).length >= MIN_SHARED_DEPTH;
}

function isBelow(folder: string, path: string): boolean {
  return path === folder || path.startsWith(folder === "/" ? "/" : `${folder}/`);
}

function sharedFolder(a: string, b: string): string {
  let shared = a;
  while (!isBelow(shared, b)) shared = dirname(shared);
  return shared;
}
