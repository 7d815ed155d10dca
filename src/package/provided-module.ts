/** Which imports are left to modules that workers have of their own. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { TYPEBOX_LINE, providedTypeBox, typeBoxPart } from "../function/provided.ts";

/**
 * What the worker calls what an import from a file in `folder` names: its TypeBox, in place of a copy of the same line, or where
 * none is installed. Undefined for whatever the package must bring along.
 */
export function providedModule(specifier: string, folder: string): string | undefined {
  const part = typeBoxPart(specifier);
  if (part === undefined) return undefined;
  const version = installedVersion(specifier, folder);
  if (version !== undefined && !version.startsWith(`${TYPEBOX_LINE}.`)) return undefined;
  return providedTypeBox(part);
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
