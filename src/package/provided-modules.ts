/** Imports that a bundle leaves to modules which workers have of their own. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { BunPlugin } from "bun";
import { TYPEBOX_LINE, isTypeBox, loadProvided, providedName } from "../function/provided.ts";

const NAMESPACE = "provided";
/** What the bundle has in place of such a module is called otherwise, or the compiler takes the two for one. */
const EXPORTS = "exports:";

/**
 * Names what they export, one by one, in a module within the bundle: the compiler forgets to import what `export *` of an import
 * that it leaves alone stands for.
 */
export const providedModules: BunPlugin = {
  name: "modules of the worker's own",
  setup(build) {
    build.onResolve({ filter: /^(?:rfaas|@sinclair)\// }, ({ path, importer }) => {
      if (importer.startsWith(EXPORTS)) return { path, external: true };
      const name = providedModule(path, dirname(importer));
      return name === undefined ? undefined : { path: EXPORTS + name, namespace: NAMESPACE };
    });
    build.onLoad({ filter: /.*/, namespace: NAMESPACE }, ({ path }) => {
      const name = path.slice(EXPORTS.length);
      const exports = Object.keys(loadProvided(name)).join(", ");
      return { contents: `export { ${exports} } from "${name}";`, loader: "js" };
    });
  },
};

/** Whether the compiler means such a module by what it says it has read. */
export function isProvidedInput(input: string): boolean {
  return input.startsWith(`${NAMESPACE}:`);
}

/**
 * What the worker calls what an import from a file in `folder` names: its TypeBox, in place of a copy of the same line, or where
 * none is installed. Undefined for whatever the package must bring along.
 */
export function providedModule(specifier: string, folder: string): string | undefined {
  const name = providedName(specifier);
  if (name === undefined || !isTypeBox(specifier)) return name;
  const version = installedVersion(specifier, folder);
  return version === undefined || version.startsWith(`${TYPEBOX_LINE}.`) ? name : undefined;
}

function installedVersion(specifier: string, from: string): string | undefined {
  let file: string;
  try {
    file = Bun.resolveSync(specifier, from);
  } catch {
    return undefined;
  }
  for (let folder = dirname(file); folder !== dirname(folder); folder = dirname(folder)) {
    const { name, version } = readPackage(folder);
    if (name !== undefined && specifier.startsWith(name)) return version;
  }
  return undefined;
}

function readPackage(folder: string): { name?: string; version?: string } {
  try {
    return JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  } catch {
    return {};
  }
}
