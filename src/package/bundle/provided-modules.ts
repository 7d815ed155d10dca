/** Imports that a package leaves to modules which workers have of their own. */
import { readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { TYPEBOX_LINE, isTypeBox, providedName } from "./provided-names.ts";
import { Installation, packageOfImport } from "./installed.ts";

/**
 * What the worker calls what an import from a file in `folder` names: its TypeBox, in place of a copy of the same line, or where
 * none is installed. Undefined for whatever the package must bring along.
 */
export function providedModule(
  specifier: string,
  folder: string,
  installation: Installation = new Installation(),
): string | undefined {
  if (specifier === "rfaas") return specifier;
  const name = providedName(specifier);
  if (name === undefined || !isTypeBox(specifier)) return name;
  const version = installation.find(packageOfImport(specifier)!, folder)?.version;
  return version === undefined || version.startsWith(`${TYPEBOX_LINE}.`) ? name : undefined;
}

/**
 * Files by which an rfaas on this machine is imported. An alias of a tsconfig.json, or a path, may lead to one, wherever that rfaas
 * lies; it means the worker's module, as the name itself does.
 */
export class LibraryEntries {
  readonly #known = new Map<string, ReadonlyMap<string, string> | undefined>();

  /** The name, such as `rfaas/function`, of the file at a real path; undefined for every other file. */
  nameOf(path: string): string | undefined {
    for (let folder = dirname(path); ; folder = dirname(folder)) {
      const entries = this.#entriesOf(folder);
      if (entries) return entries.get(path);
      if (dirname(folder) === folder) return undefined;
    }
  }

  #entriesOf(folder: string): ReadonlyMap<string, string> | undefined {
    if (!this.#known.has(folder)) this.#known.set(folder, readEntries(folder));
    return this.#known.get(folder);
  }
}

/** Names by real path, as the package in a folder exports them: none unless it is rfaas. Undefined where there is no package. */
function readEntries(folder: string): ReadonlyMap<string, string> | undefined {
  let described: { name?: unknown; exports?: unknown };
  try {
    described = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as typeof described;
  } catch {
    return undefined;
  }
  const entries = new Map<string, string>();
  if (described.name !== "rfaas") return entries;
  for (const [name, targets] of Object.entries(described.exports ?? {}))
    for (const target of textsIn(targets))
      try {
        entries.set(realpathSync(join(folder, target)), join("rfaas", name));
      } catch {
        // It has not been built.
      }
  return entries;
}

/** An entry is a file, or one for each condition. */
function textsIn(targets: unknown): string[] {
  if (typeof targets === "string") return [targets];
  if (typeof targets !== "object" || targets === null) return [];
  return Object.values(targets).flatMap(textsIn);
}
