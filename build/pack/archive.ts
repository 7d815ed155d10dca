/** Tar archives whose bytes depend on nothing but the files: sorted, of one time, owned by root. */
import { writeFileSync } from "node:fs";
import { packTar } from "modern-tar";

export interface PackedFile {
  path: string;
  mode: number;
  bytes: Uint8Array<ArrayBuffer>;
}

export const textFile = (path: string, text: string, mode = 0o644): PackedFile => ({
  ...{ path, mode, bytes: new TextEncoder().encode(text) },
});

/** Of files below `root` (`./usr`, say), with an entry for each folder before what lies in it, unless `folders` is false. */
export async function tarOf(
  root: string,
  files: readonly PackedFile[],
  epochS: number,
  { folders = true } = {},
): Promise<Uint8Array> {
  const mtime = new Date(1000 * epochS);
  const owner = { uid: 0, gid: 0, uname: "root", gname: "root", mtime };
  const paths = files.map((file) => ({ name: `${root}/${file.path}`, file }));
  const above = new Set(folders ? paths.flatMap(({ name }) => foldersAbove(name)) : []);
  const entries = [
    ...[...above].map((name) => ({
      header: { ...owner, name, size: 0, mode: 0o755, type: "directory" as const },
    })),
    ...paths.map(({ name, file: { mode, bytes } }) => ({
      header: { ...owner, name, size: bytes.length, mode },
      body: bytes,
    })),
  ];
  return packTar(entries.toSorted((a, b) => (a.header.name < b.header.name ? -1 : 1)));
}

/** Writes an archive, compressed. Returns the SHA-256 of the file. */
export function writeGzipped(path: string, tar: Uint8Array): string {
  const bytes = Bun.gzipSync(new Uint8Array(tar), { level: 6 });
  writeFileSync(path, bytes);
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

/** `a/` and `a/b/` of `a/b/c`. */
function foldersAbove(path: string): string[] {
  const parts = path.split("/").slice(0, -1);
  return parts.map((_, i) => `${parts.slice(0, i + 1).join("/")}/`);
}
