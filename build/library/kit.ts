/**
 * Builds the kit: what `rfaas new` writes into a project so that its tests run and an editor knows every type, with no registry and
 * no checkout of this repository. The project's `.rfaas/` has the library, as code and declarations; its `node_modules/` gets the
 * packages that `npm install` would bring, as far as types and modules use them.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { type Kit, KIT_FOLDER } from "../../src/commands/new/kit.ts";
import { builtEntries } from "./code.ts";
import { ENTRIES, declarations } from "./declarations.ts";

const ROOT = join(import.meta.dir, "..", "..");

/** Packages of the kit, with what is left out of each: documents, other forms of the same, types for old compilers. */
const PACKAGES: Readonly<Record<string, (path: string) => boolean>> = {
  // Functions share one copy with the library: the marks of schemas are told by identity.
  "@sinclair/typebox": (path) => path.startsWith("build/esm/"),
  "bun-types": isDeclaration,
  "@types/node": (path) => isDeclaration(path) && !path.startsWith("ts5."),
  "undici-types": isDeclaration,
};

function isDeclaration(path: string): boolean {
  return /\.d\.[cm]?ts$/.test(path);
}

/** Throws when a source does not build. */
export async function buildKit(): Promise<Kit> {
  const library = {
    "package.json": `${JSON.stringify(manifest(), null, 2)}\n`,
    ...(await declarations()),
    ...(await code()),
  };
  const kit: Kit = {};
  for (const [path, text] of Object.entries(library)) kit[`${KIT_FOLDER}/${path}`] = text;
  for (const [name, has] of Object.entries(PACKAGES)) Object.assign(kit, filesOf(name, has));
  return kit;
}

function manifest(): object {
  const { version, description, license, dependencies } = packageJson;
  return {
    ...{ name: "rfaas", version, description, license, type: "module" },
    exports: {
      ...Object.fromEntries(
        Object.keys(ENTRIES).map((name) => [
          name === "index" ? "." : `./${name}`,
          { types: `./${name}.d.ts`, default: `./code/${name}.js` },
        ]),
      ),
      "./package.json": "./package.json",
    },
    dependencies: { "@sinclair/typebox": dependencies["@sinclair/typebox"] },
  };
}

async function code(): Promise<Record<string, string>> {
  const built = await builtEntries(ENTRIES, {
    external: ["@sinclair/typebox"],
    minify: { whitespace: true, syntax: true, identifiers: false },
  });
  return Object.fromEntries(Object.entries(built).map(([path, text]) => [`code/${path}`, text]));
}

/** The files of a package that the kit has, by where they lie in a project. */
function filesOf(name: string, has: (path: string) => boolean): Kit {
  const folder = join(ROOT, "node_modules", name);
  const paths = [...new Bun.Glob("**/*").scanSync({ cwd: folder })].filter(
    (path) => has(path) || path === "package.json" || /^licen[cs]e/i.test(path),
  );
  return Object.fromEntries(
    paths
      .toSorted()
      .map((path) => [`node_modules/${name}/${path}`, readFileSync(join(folder, path), "utf8")]),
  );
}
