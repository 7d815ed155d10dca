/** Makes packages of modules, and rebuilds one only when one of its inputs has changed. */
import { realpathSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ModuleLoadError, UsageError } from "../base/errors.ts";
import { requireDescriptors } from "../base/shortage.ts";
import type { BinaryFormat } from "../library/format.ts";
import { formatOf } from "../library/formats.ts";
import { findAssets } from "./contents/assets.ts";
import { type Absent, type Bundle, safeName, settingsOf } from "./bundle/bundle.ts";
import { bundleFreshly } from "./bundle/fresh-bundle.ts";
import type { Origin } from "./bundle/layout.ts";
import { type Content, type Package, type PackedFile, pack } from "./contents/package.ts";
import { changedAfter, stampOf } from "./bundle/stamp.ts";
import type { PackageOptions } from "./options.ts";

export interface Built {
  package: Package;
  /** Absolute paths of all inputs. */
  inputs: readonly string[];
  /** Which folders of this machine those of the package are, for stacks. */
  origins: readonly Origin[];
  /** What the module may miss when it runs, and the option that helps: one sentence each. */
  warnings: readonly string[];
}

/** File descriptors that compiling a small module needs at once. */
const COMPILER_DESCRIPTORS = 16;
/** How many packages, with their code, one process caches. */
const MAX_KEPT = 64;

/**
 * Makes a package of the module at an absolute path.
 *
 * @throws {ModuleLoadError} it is not there, or does not compile
 * @throws {PackageInvalid} a file cannot be in a package
 * @throws {UsageError} an option names what is not there
 */
export async function buildPackage(path: string, options: PackageOptions = {}): Promise<Built> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found?.isFile())
    throw new ModuleLoadError(
      "RFAAS_MODULE_NOT_FOUND",
      path,
      found
        ? `${path} is no file; name a module in it`
        : `no such file: ${path}; name a module on this machine by its full path, or by one from the current folder`,
    );
  requireDescriptors(COMPILER_DESCRIPTORS, `${path} cannot be packed`);
  const { include = [], external = [] } = options;
  const name = basename(path);
  const format = formatOf(path);
  const { entry, files, inputs, origins, absent } = format
    ? unbundled(path, format)
    : await bundleFreshly(path, external);
  // They are named from the module's folder, which need not be the package's.
  const assets = findAssets(dirname(path), include).map((asset) => ({
    ...asset,
    path: join(dirname(entry), asset.path),
  }));
  const bundled = new Map(files.map((file) => [file.path, file.content]));
  const added = assets.filter(({ path: place, content }) => !isSame(bundled.get(place), content));
  const clash = added.find((asset) => bundled.has(asset.path));
  if (clash)
    throw new UsageError(
      `include: ${clash.path} has the name of what the module is bundled to; rename the file`,
    );
  const all = [...files, ...added];
  return {
    package: await pack(name, entry, all),
    inputs: [...inputs, ...added.flatMap(({ content }) => ("path" in content ? content.path : []))],
    origins,
    warnings: warningsOf(absent, dirname(entry), all, options),
  };
}

function isSame(bundled: Content | undefined, asset: Content): boolean {
  return (
    bundled !== undefined &&
    "path" in bundled &&
    "path" in asset &&
    realpathSync(bundled.path) === realpathSync(asset.path)
  );
}

function unbundled(path: string, format: BinaryFormat): Bundle {
  const entry = safeName(basename(path));
  const files = new Map<string, PackedFile>();
  files.set(entry, { path: entry, content: { path }, executable: true });
  for (const companion of format.companions(path)) {
    // Wherever it lies here: the node opens it by its place in the package.
    const at = basename(companion);
    if (!files.has(at)) files.set(at, { path: at, content: { path: companion }, executable: true });
  }
  const inputs = [...files.values()].flatMap(({ content }) =>
    "path" in content ? [content.path] : [],
  );
  return {
    entry,
    files: [...files.values()],
    inputs,
    doubtful: false,
    origins: [{ prefix: "", folder: dirname(path) }],
    absent: [],
  };
}

function warningsOf(
  absent: readonly Absent[],
  folder: string,
  files: readonly PackedFile[],
  { include = [], external = [] }: PackageOptions,
): string[] {
  const warnings = absent.flatMap(({ module, name }) => {
    if (name === undefined)
      return include.length + external.length > 0
        ? []
        : `${module} imports what only its run decides; if that is not in the package, name files by --include and packages of npm by --external`;
    if (name === "")
      return include.length > 0
        ? []
        : `${module} reads files by its own place, and names none that is there; bring those it needs along by --include`;
    if (name.startsWith(".."))
      return `${module} names ${name}, which is not below the folder of the module to run and not in the package; move it there, then name it by --include`;
    const place = join(folder, name);
    return files.some((file) => file.path === place || file.path.startsWith(`${place}/`))
      ? []
      : `${module} names ${name}, which is not in the package; bring it along by --include ${JSON.stringify(name)}`;
  });
  return [...new Set(warnings)];
}

/** Builds packages and caches them. */
export class PackageBuilder {
  readonly #built = new Map<
    string,
    { built: Promise<Built>; stamp: Promise<string | undefined> }
  >();

  /** As {@link buildPackage}. Costs a look at each input when nothing has changed. */
  async build(path: string, options: PackageOptions = {}): Promise<Built> {
    const key = JSON.stringify([path, options.include ?? [], options.external ?? []]);
    const before = this.#built.get(key);
    if (before) {
      const known = await before.built.catch(() => undefined);
      if (known && (await before.stamp) === this.#stampOf(path, known.inputs, options))
        return known;
    }
    // Another call may have begun to build it meanwhile.
    const now = this.#built.get(key);
    if (now && now !== before) return await now.built;
    const startedMs = Date.now();
    const built = buildPackage(path, options);
    // A file that changed during the build may have been read in its old version.
    const stamp = built.then(({ inputs }) =>
      inputs.some((input) => changedAfter(input, startedMs))
        ? undefined
        : this.#stampOf(path, inputs, options),
    );
    stamp.catch(() => {});
    this.#built.delete(key);
    this.#built.set(key, { built, stamp });
    const [oldest] = this.#built.keys();
    if (this.#built.size > MAX_KEPT) this.#built.delete(oldest!);
    try {
      return await built;
    } catch (error) {
      this.#built.delete(key);
      throw error;
    }
  }

  #stampOf(path: string, inputs: readonly string[], { include = [] }: PackageOptions): string {
    // A pattern may name more files than before.
    const assets = include.length > 0 ? findAssets(dirname(path), include) : [];
    return [
      ...inputs.map(stampOf),
      ...settingsOf(path).map(stampOf),
      ...assets.map((asset) => asset.path),
    ].join("\n");
  }
}
