/** Files that a package has beside its code, named by patterns from the entry's folder. */
import { lstatSync, readdirSync, realpathSync, statSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { PackageInvalid, UsageError } from "../../base/errors.ts";
import { MAX_FILES } from "./manifest.ts";
import type { PackedFile } from "./package.ts";

/**
 * The files that `patterns` name below `folder`: paths, folders, or globs.
 *
 * @throws {UsageError} a pattern climbs out of the folder, or names nothing
 * @throws {PackageInvalid} a link leads out of the folder
 */
export function findAssets(folder: string, patterns: readonly string[]): PackedFile[] {
  const found = new Map<string, PackedFile>();
  const home = realpathSync(folder);
  for (const pattern of patterns) {
    if (pattern === "" || pattern.startsWith("/") || pattern.split("/").includes(".."))
      throw new UsageError(
        `include: ${JSON.stringify(pattern)} does not stay in ${folder}; name files below the module's own folder`,
      );
    const plain = pattern.replace(/^(\.\/)+/, "").replace(/\/+$/, "");
    const named = statSync(join(folder, plain), { throwIfNoEntry: false });
    const paths = named?.isFile()
      ? [plain]
      : named?.isDirectory()
        ? filesBelow(join(folder, plain)).map((path) => (plain === "" ? path : `${plain}/${path}`))
        : [...new Bun.Glob(plain).scanSync({ cwd: folder, dot: true, onlyFiles: false })].filter(
            (path) => statSync(join(folder, path), { throwIfNoEntry: false })?.isFile(),
          );
    if (paths.length === 0)
      throw new UsageError(
        `include: ${JSON.stringify(pattern)} names no file in ${folder}; check its spelling`,
      );
    for (const path of paths) found.set(path, packed(home, folder, path));
  }
  return [...found.values()];
}

/** All files below a folder, by their path from it; `skip` leaves folders out. More than `limit` are refused: they cannot be packed. */
export function filesBelow(
  folder: string,
  skip: (name: string) => boolean = () => false,
  limit: number = MAX_FILES,
): string[] {
  const files: string[] = [];
  const pending = [""];
  while (pending.length > 0) {
    const at = pending.pop()!;
    for (const entry of readdirSync(join(folder, at), { withFileTypes: true })) {
      const path = at === "" ? entry.name : `${at}/${entry.name}`;
      const isFolder = entry.isSymbolicLink()
        ? statSync(join(folder, path), { throwIfNoEntry: false })?.isDirectory()
        : entry.isDirectory();
      if (isFolder) {
        if (entry.isSymbolicLink()) staysIn(realpathSync(folder), join(folder, path));
        if (!skip(entry.name)) pending.push(path);
      } else if (entry.isFile() || entry.isSymbolicLink()) files.push(path);
      if (files.length > limit)
        throw new PackageInvalid(
          `${folder} has more than ${limit} files; include less of it, or put them into one archive`,
        );
    }
  }
  return files;
}

/** A file of a folder as it is packed: what a link leads to, as long as that is in the folder too. */
export function packed(home: string, folder: string, path: string): PackedFile {
  const at = join(folder, path);
  if (lstatSync(at).isSymbolicLink() || path.includes("/")) staysIn(home, at);
  const { mode } = statSync(at);
  return {
    path: path.split(sep).join("/"),
    content: { path: at },
    executable: (mode & 0o100) !== 0,
  };
}

function staysIn(home: string, path: string): void {
  let real: string;
  try {
    real = realpathSync(path);
  } catch (cause) {
    throw new PackageInvalid(`${path} is a link to nothing; remove it or leave it out`, { cause });
  }
  const way = relative(home, real);
  if (way === ".." || way.startsWith(`..${sep}`))
    throw new PackageInvalid(
      `${path} leads out of ${home}, to ${real}; put the file itself there, or leave it out`,
    );
}
