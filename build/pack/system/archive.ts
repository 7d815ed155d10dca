/** Tar archives whose bytes depend on nothing but the files: sorted, of one time, owned by root. */
import { packTar } from "modern-tar";
import type { PackedFile } from "./contents.ts";

/** With an entry for each folder before what lies in it, and all below `root` (`./usr`, say). */
export async function tarOf(
  root: string,
  files: readonly PackedFile[],
  epochS: number,
): Promise<Uint8Array> {
  const mtime = new Date(1000 * epochS);
  const owner = { uid: 0, gid: 0, uname: "root", gname: "root", mtime };
  const paths = files.map((file) => ({ name: `${root}/${file.path}`, file }));
  const folders = new Set(paths.flatMap(({ name }) => foldersAbove(name)));
  const entries = [
    ...[...folders].map((name) => ({
      header: { ...owner, name, size: 0, mode: 0o755, type: "directory" as const },
    })),
    ...paths.map(({ name, file: { mode, bytes } }) => ({
      header: { ...owner, name, size: bytes.length, mode },
      body: bytes,
    })),
  ];
  return packTar(entries.toSorted((a, b) => (a.header.name < b.header.name ? -1 : 1)));
}

/** `a/` and `a/b/` of `a/b/c`. */
function foldersAbove(path: string): string[] {
  const parts = path.split("/").slice(0, -1);
  return parts.map((_, i) => `${parts.slice(0, i + 1).join("/")}/`);
}
