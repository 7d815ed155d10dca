/**
 * Builds the kit: what a project of functions needs of rfaas to run its tests and to have its types checked, as one package of
 * some files. `rfaas new` writes it beside the project, so that neither a registry nor this repository is needed.
 */
import { dirname, join, relative } from "node:path";
import packageJson from "../../../package.json" with { type: "json" };

/** Path within the package, and text. */
export type Kit = Record<string, string>;

const ROOT = join(import.meta.dir, "..", "..", "..");
const ENTRIES = {
  function: "src/function/index.ts",
  testing: "src/testing/index.ts",
} as const;

/** Throws when a source does not build. */
export async function buildKit(): Promise<Kit> {
  const entries = Object.entries(ENTRIES);
  const built = await Bun.build({
    entrypoints: entries.map(([, path]) => join(ROOT, path)),
    target: "bun",
    format: "esm",
    // One copy of what both have: the marks of functions are told by identity.
    splitting: true,
    minify: { whitespace: true, syntax: true, identifiers: false },
    root: join(ROOT, "src"),
    naming: { entry: "code/[dir].[ext]", chunk: "code/[name]-[hash].[ext]" },
  });
  const kit: Kit = { "package.json": `${JSON.stringify(manifest(), null, 2)}\n` };
  for (const output of built.outputs) kit[output.path.replace(/^\.\//, "")] = await output.text();
  for (const [path, text] of await sourcesOf(entries.map(([, path]) => path))) kit[path] = text;
  return kit;
}

function manifest(): object {
  const { version, description, license, dependencies } = packageJson;
  return {
    name: "rfaas",
    version,
    description,
    license,
    type: "module",
    // Bundled code, and for the types the sources that it was made of.
    exports: Object.fromEntries(
      Object.entries(ENTRIES).map(([name, path]) => [
        `./${name}`,
        { types: `./${path}`, default: `./code/${name}.js` },
      ]),
    ),
    dependencies: { "@sinclair/typebox": dependencies["@sinclair/typebox"] },
  };
}

/** The files, and all of ours that they import, for their types too. */
async function sourcesOf(entries: readonly string[]): Promise<Map<string, string>> {
  const sources = new Map<string, string>();
  const waiting = [...entries];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (sources.has(path)) continue;
    const text = await Bun.file(join(ROOT, path)).text();
    sources.set(path, text);
    // Examples in comments import, too.
    const code = text.replace(/\/\*[\s\S]*?\*\//g, "");
    for (const [, named] of code.matchAll(/(?:from |import\(|import )"(\.[^"]+\.ts)"/g))
      waiting.push(relative(ROOT, join(ROOT, dirname(path), named!)));
  }
  return sources;
}
