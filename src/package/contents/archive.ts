/**
 * A package as one file: a tar with the manifest and then the files in its order, so that any tar shows and unpacks it. The same
 * package is always the same bytes.
 *
 * A reader finds the files by the manifest alone, and looks at each header only to see that it is the one that belongs there: a
 * file's bytes are read when they are needed, from where they lie.
 */
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import type { TarHeader, TarPackController } from "modern-tar";
import { EnvironmentError, PackageInvalid } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";
import { MAX_MANIFEST_BYTES, parseManifest, pathFault } from "./manifest.ts";
import { type Content, type Package, packageOf, piecesOf } from "./package.ts";

export const ARCHIVE_EXTENSION = ".rfaas";

const MANIFEST_NAME = "manifest.json";
const FILES_FOLDER = "files/";
/** What archives began with before they were tars. */
const EARLIER_FORMAT = "rfaas package 1\n";

const BLOCK_BYTES = 512;
const END_BYTES = 2 * BLOCK_BYTES;
/** A longer name, and a larger size, stand in a record of their own before the header. */
const MAX_PLAIN_NAME_BYTES = 100;
const MAX_PLAIN_SIZE = 0o77777777777;
/** When all files were made: equal packages are equal archives. */
const MADE_AT = new Date(Date.UTC(2000, 0, 1));

const BUILD_AGAIN = "make it again with: rfaas package build";

interface Entry {
  name: string;
  bytes: number;
  executable: boolean;
}

const manifestEntry = (bytes: number): Entry => ({
  ...{ name: MANIFEST_NAME, bytes, executable: false },
});

/** Writes the package to `path`. Throws {@link EnvironmentError} when it cannot be written. */
export async function writeArchive(path: string, made: Package): Promise<void> {
  // A device or a pipe is written, not replaced.
  const isFile = (await stat(path).catch(() => undefined))?.isFile() ?? true;
  const fresh = isFile ? `${path}.${process.pid}.part` : path;
  try {
    const file = await open(fresh, "w");
    try {
      for await (const bytes of archiveOf(made)) await file.writeFile(bytes);
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

async function* archiveOf(made: Package): AsyncGenerator<Uint8Array, void> {
  const { createTarPacker } = await import("modern-tar");
  const { readable, controller } = createTarPacker();
  const filling = fill(controller, made).catch((error: unknown) => controller.error(error));
  yield* readable;
  await filling;
}

async function fill(tar: TarPackController, made: Package): Promise<void> {
  const { manifest, manifestBytes, contents } = made;
  await add(tar, manifestEntry(manifestBytes.length), manifestBytes);
  for (const { path, bytes, executable } of manifest.files)
    await add(tar, { name: FILES_FOLDER + path, bytes, executable }, contents.get(path)!);
  tar.finalize();
}

async function add(tar: TarPackController, entry: Entry, content: Content): Promise<void> {
  const body = tar.add(headerOf(entry)).getWriter();
  let bytes = 0;
  for await (const piece of piecesOf(content)) {
    bytes += piece.length;
    if (bytes > entry.bytes) break;
    // A copy, which `slice` of a Buffer is not: pieces share their memory, and the packer keeps what it gets until it is read.
    await body.write(new Uint8Array(piece));
  }
  if (bytes !== entry.bytes)
    throw new PackageInvalid(
      `${content instanceof Uint8Array ? entry.name : content.path} changed while it was packed; ${BUILD_AGAIN}`,
    );
  await body.close();
}

/** Reads what {@link writeArchive} has written; the files' bytes stay where they are. Throws {@link PackageInvalid}. */
export async function readArchive(path: string): Promise<Package> {
  const file = await open(path, "r").catch((cause: Error) => {
    throw new PackageInvalid(`${path} cannot be read (${cause.message}); name a package file`, {
      cause,
    });
  });
  try {
    const manifestBytes = await readManifest(file, path);
    const manifest = parseManifest(manifestBytes);
    const contents = new Map<string, Content>();
    let end = endOf(0, manifestEntry(manifestBytes.length));
    for (const { path: name, bytes, executable } of manifest.files) {
      const entry = { name: FILES_FOLDER + name, bytes, executable };
      await expectEntry(file, path, end, entry);
      contents.set(name, { path, from: end + headerBytes(entry), bytes });
      end = endOf(end, entry);
    }
    await expectEnd(file, path, end);
    return packageOf(manifest, contents);
  } finally {
    await file.close();
  }
}

async function readManifest(file: FileHandle, path: string): Promise<Uint8Array> {
  const start = await bytesAt(file, 0, BLOCK_BYTES);
  if (start.toString("latin1").startsWith(EARLIER_FORMAT))
    throw new PackageInvalid(
      `${path} was made by an earlier rfaas, in a format that this one does not read; ${BUILD_AGAIN}`,
    );
  const header = await headerIn(start);
  if (header?.name !== MANIFEST_NAME || header.type !== "file" || header.size > MAX_MANIFEST_BYTES)
    throw new PackageInvalid(
      `${path} is no package of this version; make one with: rfaas package build`,
    );
  const bytes = await bytesAt(file, BLOCK_BYTES, header.size);
  if (bytes.length < header.size) throw damaged(path);
  return bytes;
}

/** Throws unless the header of `entry` is there, as it is written. */
async function expectEntry(
  file: FileHandle,
  path: string,
  from: number,
  entry: Entry,
): Promise<void> {
  const length = headerBytes(entry);
  const region = await bytesAt(file, from, length);
  if (region.length < length) throw damaged(path);
  const found = await headerIn(region);
  const { name, size, mode } = headerOf(entry);
  if (found?.type === "file" && found.name === name && found.size === size && found.mode === mode)
    return;
  throw strange(path, found, `its entry for ${JSON.stringify(name)} is not as rfaas writes it`);
}

async function expectEnd(file: FileHandle, path: string, end: number): Promise<void> {
  const { size } = await file.stat();
  if (size === end + END_BYTES) return;
  const more = size > end ? await headerIn(await bytesAt(file, end, BLOCK_BYTES)) : undefined;
  throw more
    ? strange(path, more, `it holds ${JSON.stringify(more.name)}, which its manifest does not name`)
    : damaged(path);
}

function headerOf({ name, bytes, executable }: Entry): TarHeader {
  const records = recordsOf({ name, bytes });
  return {
    ...{ name, size: bytes, type: "file", mode: executable ? 0o755 : 0o644 },
    ...{ mtime: MADE_AT, uid: 0, gid: 0, uname: "", gname: "" },
    ...(records.length > 0 ? { pax: Object.fromEntries(records) } : {}),
  };
}

/** What has no room in a header. */
function recordsOf({ name, bytes }: Pick<Entry, "name" | "bytes">): [key: string, value: string][] {
  return [
    ...(Buffer.byteLength(name) > MAX_PLAIN_NAME_BYTES ? [["path", name] as [string, string]] : []),
    ...(bytes > MAX_PLAIN_SIZE ? [["size", String(bytes)] as [string, string]] : []),
  ];
}

/** How long the header of an entry is, with its records. */
function headerBytes(entry: Entry): number {
  const records = recordsOf(entry);
  if (records.length === 0) return BLOCK_BYTES;
  // Each begins with its own length, as POSIX has it: "30 mtime=1350244992.023960108\n".
  const bytes = records.reduce((sum, [key, value]) => {
    const rest = Buffer.byteLength(` ${key}=${value}\n`);
    return sum + rest + String(rest + String(rest).length).length;
  }, 0);
  return 2 * BLOCK_BYTES + wholeBlocks(bytes);
}

const endOf = (from: number, entry: Entry): number =>
  from + headerBytes(entry) + wholeBlocks(entry.bytes);

const wholeBlocks = (bytes: number): number => Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;

/** Fewer at the end of the file. */
async function bytesAt(file: FileHandle, from: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, from);
  return buffer.subarray(0, bytesRead);
}

/** The first header in `bytes`, whatever comes behind it; undefined where there is none. */
async function headerIn(bytes: Uint8Array): Promise<TarHeader | undefined> {
  const { unpackTar } = await import("modern-tar");
  return (await unpackTar(bytes).catch(() => []))[0]?.header;
}

function damaged(path: string): PackageInvalid {
  return new PackageInvalid(`${path} is damaged, or was not written to its end; ${BUILD_AGAIN}`);
}

/** An archive that was put together by something else: `otherwise` when nothing worse is wrong with its entry. */
function strange(path: string, found: TarHeader | undefined, otherwise: string): PackageInvalid {
  const name = JSON.stringify(found?.name.slice(0, 200));
  const fault = found && pathFault(found.name);
  const why =
    found?.type === "symlink" || found?.type === "link"
      ? `it holds a link, ${name}`
      : fault
        ? `it holds ${name}, a path that ${fault}`
        : otherwise;
  return new PackageInvalid(
    `${path} is refused: ${why}; a package holds the plain files of its manifest, so ${BUILD_AGAIN}`,
  );
}
