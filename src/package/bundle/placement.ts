/**
 * Where packages of npm lie in node_modules of a package of ours, so that each finds the versions of the others that it has found
 * on this machine.
 */
import { dirname } from "node:path";
import { PackageInvalid } from "../../base/errors.ts";
import type { Installed } from "./installed.ts";

/** Deeper chains of versions that need each other are refused. */
const MAX_DEPTH = 12;

/**
 * Places `roots`, the first of each name at the top, and all that `needs` tells of them. A package may lie in several places.
 *
 * @throws {PackageInvalid} the versions need each other in a circle
 */
export function placePackages(
  roots: Iterable<Installed>,
  needs: (installed: Installed) => Iterable<Installed>,
): Map<string, Installed> {
  const placed = new Map<string, Installed>();
  let aside = 0;
  for (const root of roots) {
    const top = `node_modules/${root.name}`;
    // Only what is named by its whole path finds it there.
    placed.set(
      placed.has(top) ? `node_modules/.versions/${aside++}/node_modules/${root.name}` : top,
      root,
    );
  }
  for (const [at, installed] of placed) {
    for (const dependency of needs(installed)) {
      if (dependency === installed) continue;
      const seen = visibleFrom(at, dependency.name, placed);
      if (seen === dependency) continue;
      const place =
        seen === undefined
          ? `node_modules/${dependency.name}`
          : `${at}/node_modules/${dependency.name}`;
      if (place.split("/node_modules/").length > MAX_DEPTH)
        throw new PackageInvalid(
          `versions of ${dependency.name} need each other in a circle; let npm install one (npm dedupe)`,
        );
      placed.set(place, dependency);
    }
  }
  return placed;
}

/** What an import of `name` finds from a folder of the package. */
function visibleFrom(
  at: string,
  name: string,
  placed: ReadonlyMap<string, Installed>,
): Installed | undefined {
  for (let folder = at; ; folder = dirname(folder)) {
    const found = placed.get(
      folder === "." ? `node_modules/${name}` : `${folder}/node_modules/${name}`,
    );
    if (found || folder === ".") return found;
  }
}
