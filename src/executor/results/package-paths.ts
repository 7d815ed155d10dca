/** Names files of the worker's package by their place in it: errors must not show the node's own paths to clients. */
import { realpathSync } from "node:fs";

/** The package's folder and hash in a path of the cache. */
const IN_CACHE = /^(.*\/([0-9a-f]{64})\/root)\//;

let folders: string[] = [];
let prefix = "";

/** From then on {@link withPackagePaths} knows the package of the file at `path`. */
export function enterPackage(path: string): void {
  const [, folder, hash] = IN_CACHE.exec(path) ?? [];
  if (folder === undefined) return;
  folders = [...new Set([folder, realpathSync(folder)])];
  prefix = `package:${hash!.slice(0, 16)}/`;
}

/** Replaces paths of files of the package by `package:HASH/PLACE`, with the first 16 digits of its hash. */
export function withPackagePaths(text: string): string {
  for (const folder of folders)
    text = text.replaceAll(`file://${folder}/`, prefix).replaceAll(`${folder}/`, prefix);
  return text;
}
