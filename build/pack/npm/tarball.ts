/** Tarballs as `npm pack` makes them, whose bytes depend on nothing but the files. */
import { join } from "node:path";
import { tarOf, writeGzipped } from "../archive.ts";
import type { Packing } from "../artefact.ts";

export interface NpmFile {
  content: string | Uint8Array;
  executable?: boolean;
}

/** Writes `rfaas[-PLATFORM]-VERSION.tgz` with the files, by their paths in the package, and returns its name. */
export async function writeTarball(
  { out, version, epochS }: Packing,
  name: string,
  files: Readonly<Record<string, NpmFile>>,
): Promise<string> {
  const packed = Object.entries(files).map(([path, { content, executable }]) => ({
    path,
    mode: executable ? 0o755 : 0o644,
    bytes:
      typeof content === "string" ? new TextEncoder().encode(content) : new Uint8Array(content),
  }));
  const file = `${name}-${version}.tgz`;
  writeGzipped(join(out, file), await tarOf("package", packed, epochS, { folders: false }));
  return file;
}

/** A package.json, or another file of JSON. */
export const json = (value: object): NpmFile => ({
  content: `${JSON.stringify(value, null, 2)}\n`,
});
