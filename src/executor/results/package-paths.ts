/** Names files of the worker's package by their place in it: errors must not show the node's own paths to clients. */

/** The package's folder and hash in a path of the cache. */
const IN_CACHE = /^(.*\/([0-9a-f]{64})\/root)\//;

let entered = "";
let folders: readonly string[] | undefined;
let prefix = "";

/** From then on {@link withPackagePaths} knows the package of the file at `path`. */
export function enterPackage(path: string): void {
  const [, folder, hash] = IN_CACHE.exec(path) ?? [];
  if (folder === undefined) return;
  entered = folder;
  folders = undefined;
  prefix = `package:${hash!.slice(0, 16)}/`;
}

/** Replaces paths of files of the package by `package:HASH/PLACE`, with the first 16 digits of its hash. */
export function withPackagePaths(text: string): string {
  if (entered === "") return text;
  for (const folder of (folders ??= namesOf(entered)))
    text = text.replaceAll(`file://${folder}/`, prefix).replaceAll(`${folder}/`, prefix);
  return text;
}

/** Found out when there is an error to tell: no call should wait for it. */
function namesOf(folder: string): string[] {
  const { realpathSync } = require("node:fs") as typeof import("node:fs");
  return [...new Set([folder, realpathSync(folder)])];
}
