/** Files of packages of npm that stay files, in each place where a package of the author's code looks for them. */
import { statSync } from "node:fs";
import type { PackedFile } from "../contents/package.ts";
import { contentOf, filesOf, packageOfImport } from "./installed.ts";
import type { Kept } from "./kept-files.ts";
import { type Layout, descriptionsOf } from "./layout.ts";
import type { ModuleGraph } from "./module-graph.ts";

/** The files of packages of npm, in each place of theirs. */
export function* packageFiles(
  graph: ModuleGraph,
  kept: Kept,
  layout: Layout,
): Generator<PackedFile> {
  const reached = new Map<string, Set<string>>();
  const reach = (owner: { folder: string }, path: string) => {
    const paths = reached.get(owner.folder) ?? new Set();
    reached.set(owner.folder, paths.add(path));
  };
  for (const path of kept.files) {
    const { owner, esm } = graph.modules.get(path)!;
    if (!owner) continue;
    for (const description of descriptionsOf(graph, path, owner)) {
      const described = graph.ownerOf(description);
      if (described) reach(described, description);
    }
    if (!owner.linked || !esm) reach(owner, path);
  }
  for (const [place, owner] of layout.placed) {
    if (kept.whole.has(owner))
      for (const file of filesOf(owner)) yield { ...file, path: `${place}/${file.path}` };
    else
      for (const path of reached.get(owner.folder) ?? [])
        yield {
          path: `${place}/${path.slice(owner.folder.length + 1)}`,
          content: contentOf(path),
          executable: (statSync(path).mode & 0o100) !== 0,
        };
  }
}

/** Stand-ins by which unbundled packages find the worker's modules where they look for a package. */
export function* standIns(graph: ModuleGraph, kept: Kept, layout: Layout): Generator<PackedFile> {
  const wanted = new Map<string, Map<string, string>>();
  for (const path of kept.files) {
    const { owner, edges } = graph.modules.get(path)!;
    if (!owner) continue;
    for (const { specifier, provided } of edges)
      if (provided !== undefined && provided !== specifier && packageOfImport(specifier)) {
        const names = wanted.get(owner.folder) ?? new Map<string, string>();
        wanted.set(owner.folder, names.set(specifier, provided));
      }
  }
  for (const [place, { folder }] of layout.placed)
    for (const [specifier, provided] of wanted.get(folder) ?? []) {
      const file = (name: string, text: string): PackedFile => ({
        path: `${place}/node_modules/${specifier}/${name}`,
        content: new TextEncoder().encode(text),
        executable: false,
      });
      yield file("package.json", '{"main":"index.js"}\n');
      yield file("index.js", `module.exports = require(${JSON.stringify(provided)});\n`);
    }
}
