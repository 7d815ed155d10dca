/** Imports that a package leaves to modules which workers have of their own. */
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
