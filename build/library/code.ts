/**
 * Builds the code of the library, for npm's package: modules that share chunks, with source maps that hold their sources. Packages
 * that only the library uses are inside, so that to install the library runs no script of theirs.
 */
import { join } from "node:path";
import { classNames } from "./class-names.ts";
import { ENTRIES } from "./declarations.ts";

const ROOT = join(import.meta.dir, "..", "..");

/** What programs use, too, stays an import, so that a program has one copy of it. */
const SHARED: string[] = ["@sinclair/typebox", "@sinclair/typebox/*", "rfaas", "rfaas/*"];

/** The files by name, such as `index.js` and `index.js.map`, and `node.js` for Node. Throws when a source does not build. */
export async function libraryCode(): Promise<Record<string, string>> {
  const own = { external: SHARED, sourcemap: "linked" as const };
  const forBun = await builtEntries(ENTRIES, own);
  const node = { node: "src/without-bun/index.ts" };
  return { ...forBun, ...(await builtEntries(node, { ...own, target: "node" })) };
}

/** The library's code as it is built for others: sources by the names of their entries, what they share in chunks. */
export async function builtEntries(
  entries: Readonly<Record<string, string>>,
  options: Partial<Bun.BuildConfig>,
): Promise<Record<string, string>> {
  // An entry is named by what it is called, not by the folder of its source, so that its declarations lie beside it.
  const named = Object.entries(entries).map(
    ([name, path]) => [join(ROOT, `${name}.ts`), `export * from "./${path}";\n`] as const,
  );
  const { outputs } = await Bun.build({
    entrypoints: named.map(([path]) => path),
    files: Object.fromEntries(named),
    root: ROOT,
    naming: { entry: "[name].[ext]", chunk: "chunk-[hash].[ext]" },
    target: "bun",
    format: "esm",
    splitting: true,
    define: { RFAAS_INSTALLED: "true" },
    plugins: [classNames],
    ...options,
  });
  const texts = outputs.map(async (one) => [one.path.replace("./", ""), await one.text()] as const);
  return Object.fromEntries(await Promise.all(texts));
}

/** The names of the packages whose code is inside of the files, by their source maps. */
export function packagesInside(files: Readonly<Record<string, string>>): string[] {
  const sources = Object.entries(files)
    .filter(([name]) => name.endsWith(".map"))
    .flatMap(([, map]) => (JSON.parse(map) as { sources: string[] }).sources);
  const names = sources.map((path) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]);
  return [...new Set(names.filter((name) => name !== undefined))].sort();
}
