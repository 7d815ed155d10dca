/**
 * A package as one file: a line that names the format, the manifest's length (32 bits, little endian), the manifest, then the
 * files in its order. The same package is always the same bytes.
 */
import { open, rename, rm, stat } from "node:fs/promises";
import { EnvironmentError, PackageInvalid } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";
import { MAX_MANIFEST_BYTES, parseManifest } from "./manifest.ts";
import { type Content, type Package, packageOf, piecesOf } from "./package.ts";

export const ARCHIVE_EXTENSION = ".rfaas";

const MAGIC = new TextEncoder().encode("rfaas package 1\n");
const HEADER_BYTES = MAGIC.length + 4;

/** Writes the package to `path`. Throws {@link EnvironmentError} when it cannot be written. */
export async function writeArchive(path: string, made: Package): Promise<void> {
  const header = new Uint8Array(HEADER_BYTES);
  header.set(MAGIC);
  new DataView(header.buffer).setUint32(MAGIC.length, made.manifestBytes.length, true);
  // A device or a pipe is written, not replaced.
  const isFile = (await stat(path).catch(() => undefined))?.isFile() ?? true;
  const fresh = isFile ? `${path}.${process.pid}.part` : path;
  try {
    const file = await open(fresh, "w");
    try {
      await file.writeFile(header);
      await file.writeFile(made.manifestBytes);
      for (const { path: name } of made.manifest.files)
        for await (const piece of piecesOf(made.contents.get(name)!)) await file.writeFile(piece);
      await file.close();
      if (isFile) await rename(fresh, path);
    } catch (error) {
      await file.close().catch(() => {});
      if (isFile) await rm(fresh, { force: true });
      throw error;
    }
  } catch (cause) {
    if (cause instanceof PackageInvalid) throw cause;
    throw new EnvironmentError(
      `${path} cannot be written: ${reasonOf(cause)}; choose another place with -o`,
      { cause },
    );
  }
}

/** Reads what {@link writeArchive} has written; the files' bytes stay where they are. Throws {@link PackageInvalid}. */
export async function readArchive(path: string): Promise<Package> {
  const file = await open(path, "r").catch((cause: Error) => {
    throw new PackageInvalid(`${path} cannot be read (${cause.message}); name a package file`, {
      cause,
    });
  });
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    await file.read(header, 0, HEADER_BYTES, 0);
    if (Buffer.compare(header.subarray(0, MAGIC.length), MAGIC) !== 0)
      throw new PackageInvalid(
        `${path} is no package of this version; make one with: rfaas package build`,
      );
    const length = header.readUInt32LE(MAGIC.length);
    if (length > MAX_MANIFEST_BYTES) throw damaged(path);
    const manifestBytes = Buffer.alloc(length);
    await file.read(manifestBytes, 0, length, HEADER_BYTES);
    const manifest = parseManifest(manifestBytes);
    const contents = new Map<string, Content>();
    let from = HEADER_BYTES + length;
    for (const { path: name, bytes } of manifest.files) {
      contents.set(name, { path, from, bytes });
      from += bytes;
    }
    if ((await file.stat()).size !== from) throw damaged(path);
    return packageOf(manifest, contents);
  } finally {
    await file.close();
  }
}

function damaged(path: string): PackageInvalid {
  return new PackageInvalid(
    `${path} is damaged, or was not written to its end; make it again with: rfaas package build`,
  );
}
