/** A package with the bytes of its files: in memory, or where they lie on this machine. */
import { open, stat } from "node:fs/promises";
import { PackageInvalid } from "../../base/errors.ts";
import {
  type Manifest,
  type PackageFile,
  encodeManifest,
  hashOf,
  makeManifest,
  totalBytes,
} from "./manifest.ts";

/** Where the bytes of a file are. */
export type Content = Uint8Array | FileContent;

export interface FileContent {
  path: string;
  /** Where in the file they begin and how many they are; all of it, when not said. */
  from?: number;
  bytes?: number;
}

export interface Package {
  /** SHA-256 of {@link manifestBytes}, in hex. */
  readonly hash: string;
  readonly manifest: Manifest;
  readonly manifestBytes: Uint8Array;
  /** By the file's path in the package. */
  readonly contents: ReadonlyMap<string, Content>;
  /** All files together. */
  readonly bytes: number;
}

/** A file that is to be packed. */
export interface PackedFile {
  path: string;
  content: Content;
  executable: boolean;
}

/** The largest piece of a file that is read, or sent, at once. */
export const CHUNK_BYTES = 256 * 1024;

/** Puts a package together: hashes every file. Throws {@link PackageInvalid} when a path or a name cannot be. */
export async function pack(
  name: string,
  entry: string,
  files: readonly PackedFile[],
): Promise<Package> {
  const described: PackageFile[] = [];
  for (const { path, content, executable } of files)
    described.push({ path, executable, ...(await digest(content)) });
  return packageOf(
    makeManifest(name, entry, described),
    new Map(files.map(({ path, content }) => [path, content])),
  );
}

export function packageOf(manifest: Manifest, contents: ReadonlyMap<string, Content>): Package {
  const manifestBytes = encodeManifest(manifest);
  return {
    hash: hashOf(manifestBytes),
    manifest,
    manifestBytes,
    contents,
    bytes: totalBytes(manifest),
  };
}

/** The pieces of a file, in order; each is valid until the next is asked for. */
export async function* piecesOf(content: Content): AsyncGenerator<Uint8Array, void> {
  if (content instanceof Uint8Array) {
    for (let at = 0; at < content.length; at += CHUNK_BYTES)
      yield content.subarray(at, at + CHUNK_BYTES);
    return;
  }
  const file = await open(content.path, "r").catch((cause: Error) => {
    throw unreadable(content.path, cause);
  });
  const { from = 0, bytes = Infinity } = content;
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  try {
    for (let done = 0; done < bytes;) {
      const length = Math.min(CHUNK_BYTES, bytes - done);
      const { bytesRead } = await file
        .read(buffer, 0, length, from + done)
        .catch((cause: Error) => {
          throw unreadable(content.path, cause);
        });
      if (bytesRead === 0) return;
      done += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

/** Large files are hashed once as long as they do not change. */
const digests = new Map<string, { bytes: number; sha256: string }>();
const MAX_KEPT_DIGESTS = 10_000;

async function digest(content: Content): Promise<{ bytes: number; sha256: string }> {
  if (content instanceof Uint8Array)
    return {
      bytes: content.length,
      sha256: new Bun.CryptoHasher("sha256").update(content).digest("hex"),
    };
  const key = await stampOf(content.path);
  const known = digests.get(key);
  if (known) return known;
  const hasher = new Bun.CryptoHasher("sha256");
  let bytes = 0;
  for await (const piece of piecesOf(content)) {
    hasher.update(piece);
    bytes += piece.length;
  }
  const made = { bytes, sha256: hasher.digest("hex") };
  if (digests.size >= MAX_KEPT_DIGESTS) digests.clear();
  digests.set(key, made);
  return made;
}

async function stampOf(path: string): Promise<string> {
  try {
    const { mtimeNs, ctimeNs, size, ino } = await stat(path, { bigint: true });
    return `${path}\0${mtimeNs}\0${ctimeNs}\0${size}\0${ino}`;
  } catch (cause) {
    throw unreadable(path, cause as Error);
  }
}

function unreadable(path: string, cause: Error): PackageInvalid {
  return new PackageInvalid(
    `${path} cannot be packed (${cause.message}); name a file that can be read`,
    { cause },
  );
}
