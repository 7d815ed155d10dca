/**
 * Packages that cannot be bundled because they, or what they depend on, have native code (`.node` files). They go into the
 * package's node_modules as they are, with everything that they depend on.
 */
import { readFileSync, realpathSync, statSync } from "node:fs";
import { isBuiltin } from "node:module";
import { dirname, join } from "node:path";
import { PackageInvalid, UsageError } from "../errors.ts";
import { filesBelow, packed } from "./assets.ts";
import type { PackedFile } from "./package.ts";

/** A folder of node_modules, by its real path. */
interface Installed {
  folder: string;
  name: string;
  dependencies: readonly string[];
}

/** What an import names: `sharp` of `sharp/lib/x`, `@img/colour` of `@img/colour/y`; undefined for no package. */
export function packageOfImport(specifier: string): string | undefined {
  if (/^[./#]|^\w+:/.test(specifier) || isBuiltin(specifier)) return undefined;
  return /^(@[^/]+\/[^/]+|[^@/][^/]*)/.exec(specifier)?.[1];
}

/** Which packages one build leaves out of its bundle, and brings along instead. */
export class Externals {
  readonly #wanted: ReadonlySet<string>;
  readonly #roots = new Map<string, Installed>();
  readonly #known = new Map<string, Installed | undefined>();
  readonly #native = new Map<string, boolean>();

  /** `wanted` are names of packages that are external whether they have native code or not. */
  constructor(wanted: readonly string[]) {
    this.#wanted = new Set(wanted);
  }

  /** Whether an import from a file in `folder` stays an import. */
  claims(specifier: string, folder: string): boolean {
    const name = packageOfImport(specifier);
    if (!name) return false;
    const installed = this.#find(name, folder);
    if (!installed) return false;
    if (!this.#wanted.has(name) && !this.#isNative(installed, new Set())) return false;
    const before = this.#roots.get(name);
    if (before && before.folder !== installed.folder)
      throw new PackageInvalid(
        `two versions of ${name} are imported (${before.folder} and ${installed.folder}), and it cannot be bundled; let npm install one`,
      );
    this.#roots.set(name, installed);
    return true;
  }

  /** The files of all that was claimed, below node_modules. Throws {@link UsageError} when `wanted` was never imported. */
  files(): { files: PackedFile[]; inputs: string[] } {
    for (const name of this.#wanted)
      if (!this.#roots.has(name))
        throw new UsageError(
          `external: ${JSON.stringify(name)} is not imported, or not installed; check its spelling, and run npm install`,
        );
    const placed = new Map<string, Installed>();
    for (const root of this.#roots.values()) placed.set(`node_modules/${root.name}`, root);
    for (const [at, installed] of placed) {
      for (const name of installed.dependencies) {
        const dependency = this.#find(name, installed.folder);
        // Optional, and not for this machine.
        if (!dependency) continue;
        const top = `node_modules/${name}`;
        const there = placed.get(top);
        if (!there) placed.set(top, dependency);
        else if (there.folder !== dependency.folder)
          placed.set(`${at}/node_modules/${name}`, dependency);
      }
    }
    return {
      files: [...placed].flatMap(([at, { folder }]) =>
        filesBelow(folder, isNotPacked)
          .filter((path) => !isForeign(path))
          .map((path) => {
            const file = packed(folder, folder, path);
            return { ...file, path: `${at}/${file.path}` };
          }),
      ),
      inputs: [...placed.values()].map(({ folder }) => join(folder, "package.json")),
    };
  }

  /** Whether the package or one that it depends on has a `.node` file. */
  #isNative(installed: Installed, seen: Set<string>): boolean {
    const known = this.#native.get(installed.folder);
    if (known !== undefined) return known;
    if (seen.has(installed.folder)) return false;
    seen.add(installed.folder);
    const native =
      hasAddon(installed.folder) ||
      installed.dependencies.some((name) => {
        const dependency = this.#find(name, installed.folder);
        return dependency !== undefined && this.#isNative(dependency, seen);
      });
    // What depends on itself in a circle is only known at the circle's first member.
    if (native || seen.size === 1) this.#native.set(installed.folder, native);
    return native;
  }

  /** As Node looks for it: in the node_modules of the folder and of those above it. */
  #find(name: string, from: string): Installed | undefined {
    for (let folder = from; ; folder = dirname(folder)) {
      const at = join(folder, "node_modules", name);
      const known = this.#known.has(at) ? this.#known.get(at) : this.#read(at, name);
      if (known) return known;
      if (dirname(folder) === folder) return undefined;
    }
  }

  #read(at: string, name: string): Installed | undefined {
    let installed: Installed | undefined;
    if (statSync(join(at, "package.json"), { throwIfNoEntry: false })) {
      const folder = realpathSync(at);
      const { dependencies, optionalDependencies, peerDependencies } = readPackage(folder);
      const names = [dependencies, optionalDependencies, peerDependencies].flatMap((some) =>
        Object.keys(some ?? {}),
      );
      installed = { folder, name, dependencies: [...new Set(names)] };
    }
    this.#known.set(at, installed);
    return installed;
  }
}

type Names = Record<string, string>;

function readPackage(folder: string): {
  dependencies?: Names;
  optionalDependencies?: Names;
  peerDependencies?: Names;
} {
  const path = join(folder, "package.json");
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new PackageInvalid(
      `${path} cannot be read (${(cause as Error).message}); run npm install again`,
      { cause },
    );
  }
}

function hasAddon(folder: string): boolean {
  return filesBelow(folder, isNotPacked).some((path) => path.endsWith(".node"));
}

/** Native code of systems that no node runs; a package may have more of it than of all else. */
function isForeign(path: string): boolean {
  if (/\.(dll|dylib|exe|lib|pdb)$/i.test(path)) return true;
  return path.endsWith(".node") && /(^|[/._-])(darwin|win32|windows|freebsd)([/._-]|$)/.test(path);
}

/** Its dependencies have places of their own; the rest are caches and histories. */
function isNotPacked(name: string): boolean {
  return name === "node_modules" || name === ".cache" || name === ".git";
}
