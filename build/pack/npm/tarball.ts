/** Tarballs as `npm pack` makes them, whose bytes depend on nothing but the files. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { packTar } from "modern-tar";
import type { Packing } from "../artefact.ts";

export interface NpmFile {
  content: string | Uint8Array;
  executable?: boolean;
}

/** Writes `rfaas[-PLATFORM]-VERSION.tgz` with the files, by their paths in the package, and returns its name. */
export async function writeTarball(
  packing: Packing,
  name: string,
  files: Readonly<Record<string, NpmFile>>,
): Promise<string> {
  const mtime = new Date(1000 * packing.epochS);
  const entries = Object.entries(files).map(([path, { content, executable }]) => {
    const body = typeof content === "string" ? new TextEncoder().encode(content) : content;
    const mode = executable ? 0o755 : 0o644;
    const owner = { uid: 0, gid: 0, uname: "", gname: "" };
    return { header: { ...owner, name: `package/${path}`, size: body.length, mode, mtime }, body };
  });
  const tar = await packTar(entries.toSorted((a, b) => (a.header.name < b.header.name ? -1 : 1)));
  const file = `${name}-${packing.version}.tgz`;
  writeFileSync(join(packing.out, file), Bun.gzipSync(new Uint8Array(tar), { level: 6 }));
  return file;
}

/** A package.json, or another file of JSON. */
export const json = (value: object): NpmFile => ({
  content: `${JSON.stringify(value, null, 2)}\n`,
});
