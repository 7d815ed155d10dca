/** Packages of npm as they lie on this machine: found as Node finds them, known by the real path of their folder. */
import { readFileSync, realpathSync, statSync } from "node:fs";
import { isBuiltin } from "node:module";
import { dirname, join, sep } from "node:path";
import { PackageInvalid } from "../../base/errors.ts";
import { filesBelow, packed } from "../contents/assets.ts";
import type { Content, PackedFile } from "../contents/package.ts";

/** A package's folder, by its real path. */
export interface Installed {
  folder: string;
  name: string;
  version: string | undefined;
  /** Names of all that it says it may need. */
  dependencies: readonly string[];
  /** It lies where its author works on it, and node_modules has a link to it. */
  linked: boolean;
}

const NODE_MODULES = `${sep}node_modules${sep}`;

/** What an import names: `sharp` of `sharp/lib/x`, `@img/colour` of `@img/colour/y`; undefined for no package. */
export function packageOfImport(specifier: string): string | undefined {
  if (/^[./#]|^\w+:/.test(specifier) || isBuiltin(specifier)) return undefined;
  return /^(@[^/]+\/[^/]+|[^@/][^/]*)/.exec(specifier)?.[1];
}

/** Whether a package is rfaas, which workers have, or a part of it that is for one platform. */
export function isOfWorkers(name: string): boolean {
  return name === "rfaas" || name.startsWith("@rfaas/");
}

export class Installation {
  readonly #byPlace = new Map<string, Installed | undefined>();
  readonly #byFolder = new Map<string, Installed>();
  readonly #native = new Map<string, boolean>();

  /** As Node looks for it: in the node_modules of the folder and of those above it. */
  find(name: string, from: string): Installed | undefined {
    if (isOfWorkers(name)) return undefined;
    for (let folder = from; ; folder = dirname(folder)) {
      const at = join(folder, "node_modules", name);
      const known = this.#byPlace.has(at) ? this.#byPlace.get(at) : this.#look(at, name);
      if (known) return known;
      if (dirname(folder) === folder) return undefined;
    }
  }

  /** The package that a file, by its real path, belongs to; undefined for the author's own. */
  ownerOf(path: string): Installed | undefined {
    const at = path.lastIndexOf(NODE_MODULES);
    if (at < 0) return [...this.#byFolder.values()].find((one) => isLinkTo(one, path));
    const inside = path.slice(at + NODE_MODULES.length);
    const name = /^(@[^/]+\/[^/]+|[^/]+)/.exec(inside)![1]!;
    const folder = join(path.slice(0, at), "node_modules", name);
    return this.#byFolder.get(folder) ?? this.#read(folder, name, false);
  }

  /** Whether the package or one that it depends on has a `.node` file. */
  isNative(installed: Installed, seen: Set<string> = new Set()): boolean {
    const known = this.#native.get(installed.folder);
    if (known !== undefined) return known;
    if (seen.has(installed.folder)) return false;
    seen.add(installed.folder);
    const native =
      hasAddon(installed.folder) ||
      installed.dependencies.some((name) => {
        const dependency = this.find(name, installed.folder);
        return dependency !== undefined && this.isNative(dependency, seen);
      });
    // In a circle of dependencies the result is final only at the first member.
    if (native || seen.size === 1) this.#native.set(installed.folder, native);
    return native;
  }

  #look(at: string, name: string): Installed | undefined {
    let installed: Installed | undefined;
    if (statSync(join(at, "package.json"), { throwIfNoEntry: false })) {
      const folder = realpathSync(at);
      installed =
        this.#byFolder.get(folder) ?? this.#read(folder, name, !folder.includes(NODE_MODULES));
    }
    this.#byPlace.set(at, installed);
    return installed;
  }

  #read(folder: string, name: string, linked: boolean): Installed {
    const { version, dependencies, optionalDependencies, peerDependencies } = readPackage(folder);
    const names = [dependencies, optionalDependencies, peerDependencies].flatMap((some) =>
      Object.keys(some ?? {}),
    );
    const installed = { folder, name, version, dependencies: [...new Set(names)], linked };
    this.#byFolder.set(folder, installed);
    return installed;
  }
}

/** All files of a package but its dependencies, which have places of their own, by their path from its folder. */
export function filesOf({ folder, linked }: Installed): PackedFile[] {
  return filesBelow(folder, (name) => isNotPacked(name) || (linked && name.startsWith(".")))
    .filter((path) => !isForeign(path) && !isLeftover(path) && !(linked && /(^|\/)\./.test(path)))
    .map((path) => {
      const file = packed(folder, folder, path);
      return { ...file, content: contentOf(join(folder, path)) };
    });
}

/** A file of an installed package as it travels: old versions of npm write paths of the machine into `package.json`. */
export function contentOf(path: string): Content {
  if (!path.endsWith(`${sep}package.json`)) return { path };
  const text = readFileSync(path, "utf8");
  if (!/"_(?:where|resolved|requested|args|location)"/.test(text)) return { path };
  try {
    const kept = Object.entries(JSON.parse(text)).filter(([key]) => !key.startsWith("_"));
    return new TextEncoder().encode(JSON.stringify(Object.fromEntries(kept), undefined, 2));
  } catch {
    return { path };
  }
}

function isLinkTo({ linked, folder }: Installed, path: string): boolean {
  return linked && path.startsWith(`${folder}${sep}`);
}

type Names = Record<string, string>;

function readPackage(folder: string): {
  version?: string;
  dependencies?: Names;
  optionalDependencies?: Names;
  peerDependencies?: Names;
} {
  const path = join(folder, "package.json");
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return {};
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new PackageInvalid(
      `${path} cannot be read (${(cause as Error).message}); run npm install again`,
      { cause },
    );
  }
}

function hasAddon(folder: string): boolean {
  return filesBelow(folder, isNotPacked, Infinity).some((path) => path.endsWith(".node"));
}

/** Native code of systems that no node runs, which may be the larger part of a package. */
function isForeign(path: string): boolean {
  if (/\.(dll|dylib|exe|lib|pdb)$/i.test(path)) return true;
  return path.endsWith(".node") && /(^|[/._-])(darwin|win32|windows|freebsd)([/._-]|$)/.test(path);
}

/** Build leftovers of addons and personal settings, which contain paths of this machine. */
function isLeftover(path: string): boolean {
  return (
    /(^|\/)(\.env|\.npmrc|\.netrc)[^/]*$/.test(path) ||
    /(^|\/)build\/(config\.gypi|Makefile|binding\.Makefile|.*\.mk|.*\.(o|a|d|stamp))$/.test(path)
  );
}

/** Dependencies have places of their own; the rest are caches and histories. */
function isNotPacked(name: string): boolean {
  return name === "node_modules" || name === ".cache" || name === ".git" || name === ".deps";
}
