/**
 * What a package is: a manifest in one canonical form, which names the entry and every file by size and content, and the SHA-256
 * of its bytes, which is the package's address. Pure: no files, no sockets.
 */
import { createHash } from "node:crypto";
import { type Static, Type } from "@sinclair/typebox";
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { PackageInvalid } from "../../base/errors.ts";

/** How a lease names a package instead of a file. */
export const PACKAGE = "package:";

/** A manifest travels as one message. */
export const MAX_MANIFEST_BYTES = 3 * 1024 * 1024;
export const MAX_FILES = 20_000;
const MAX_PATH_BYTES = 1024;
const MAX_SEGMENT_BYTES = 255;

const Sha256 = Type.String({ pattern: "^[0-9a-f]{64}$" });
const size = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

export const PackageFile = Type.Object(
  {
    /** From the package's root, with `/`. */
    path: Type.String({ maxLength: MAX_PATH_BYTES }),
    bytes: size,
    sha256: Sha256,
    executable: Type.Boolean(),
  },
  { additionalProperties: false },
);
export type PackageFile = Static<typeof PackageFile>;

export const Manifest = Type.Object(
  {
    format: Type.Literal(1),
    /** The user's own name of the entry, for messages. */
    name: Type.String({ minLength: 1, maxLength: MAX_SEGMENT_BYTES }),
    /** The path of the file that workers load; its extension says how. */
    entry: Type.String({ maxLength: MAX_PATH_BYTES }),
    files: Type.Array(PackageFile, { minItems: 1, maxItems: MAX_FILES }),
  },
  { additionalProperties: false },
);
export type Manifest = Static<typeof Manifest>;

const check = TypeCompiler.Compile(Manifest);

/** `package:HASH`, or undefined when the text is no package's name. */
export function packageNamed(text: string): string | undefined {
  return /^package:([0-9a-f]{64})$/.exec(text)?.[1];
}

/** A manifest from its parts, with the files in their canonical order. Throws {@link PackageInvalid}. */
export function makeManifest(name: string, entry: string, files: readonly PackageFile[]): Manifest {
  const manifest: Manifest = {
    format: 1,
    name,
    entry,
    files: [...files].sort((a, b) => compare(a.path, b.path)),
  };
  if (files.length > MAX_FILES || encodeManifest(manifest).length > MAX_MANIFEST_BYTES)
    throw new PackageInvalid(
      `package ${name} has ${files.length} files, and ${MAX_FILES} is the most; include less, or put them into one archive`,
    );
  requireSound(manifest);
  return manifest;
}

/** The canonical bytes: what is hashed, stored and sent. */
export function encodeManifest({ name, entry, files }: Manifest): Uint8Array<ArrayBuffer> {
  const canonical = {
    format: 1,
    name,
    entry,
    files: files.map(({ path, bytes, sha256, executable }) => ({
      path,
      bytes,
      sha256,
      executable,
    })),
  };
  return new TextEncoder().encode(JSON.stringify(canonical));
}

/** Reads a foreign manifest, trusting none of it. Throws {@link PackageInvalid} when it is not canonical and sound. */
export function parseManifest(bytes: Uint8Array): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new PackageInvalid("the package's manifest is not JSON; build the package again", {
      cause,
    });
  }
  if (!check.Check(value)) {
    const first = check.Errors(value).First();
    throw new PackageInvalid(
      `the package's manifest is wrong at ${first?.path || "/"}: ${first?.message}; build the package again`,
    );
  }
  requireSound(value);
  if (Buffer.compare(encodeManifest(value), bytes) !== 0)
    throw new PackageInvalid(
      "the package's manifest is not in its canonical form; build the package again",
    );
  return value;
}

/** The package's address. */
export function hashOf(manifestBytes: Uint8Array): string {
  return createHash("sha256").update(manifestBytes).digest("hex");
}

export function totalBytes(manifest: Manifest): number {
  return manifest.files.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Why a path must not be in a package, or undefined. */
export function pathFault(path: string): string | undefined {
  if (path === "") return "is empty";
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) return `is longer than ${MAX_PATH_BYTES} bytes`;
  if (path.startsWith("/")) return "is absolute";
  if (/[\\\u0000-\u001f\u007f]/.test(path)) return "has a backslash or a control character in it";
  // Half of a surrogate pair has no bytes of its own.
  if (!path.isWellFormed()) return "is not Unicode";
  for (const segment of path.split("/")) {
    if (segment === "") return "has an empty part";
    if (segment === "." || segment === "..") return "climbs out of its package";
    if (Buffer.byteLength(segment) > MAX_SEGMENT_BYTES)
      return `has a part of more than ${MAX_SEGMENT_BYTES} bytes`;
  }
  return undefined;
}

function requireSound({ name, entry, files }: Manifest): void {
  if (/[/\u0000-\u001f\u007f]/.test(name) || !name.isWellFormed())
    throw new PackageInvalid(`a package cannot be named ${JSON.stringify(name)}; rename its entry`);
  const folders = new Set<string>();
  let last: string | undefined;
  for (const { path } of files) {
    const fault = pathFault(path);
    if (fault)
      throw new PackageInvalid(
        `the path ${JSON.stringify(path.slice(0, 200))} in package ${name} ${fault}; rename or leave out the file`,
      );
    if (last !== undefined && compare(last, path) >= 0)
      throw new PackageInvalid(
        `the path ${JSON.stringify(path)} in package ${name} is there twice, or out of order; name each file once`,
      );
    last = path;
    for (let end = path.indexOf("/"); end >= 0; end = path.indexOf("/", end + 1))
      folders.add(path.slice(0, end));
  }
  const clash = files.find(({ path }) => folders.has(path));
  if (clash)
    throw new PackageInvalid(
      `${JSON.stringify(clash.path)} is a file and a folder in package ${name}; rename one of them`,
    );
  if (!files.some(({ path }) => path === entry))
    throw new PackageInvalid(
      `package ${name} does not have its entry ${JSON.stringify(entry)}; build it again`,
    );
}

/** By code units: the same everywhere. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
