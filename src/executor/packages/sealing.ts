/**
 * Files of packages as they lie in the cache: nothing changes them once they are stored. A file has mode 0444 or 0555 and a folder
 * 0555, whatever the node's umask; a hard link elsewhere has the mode with the file.
 */
import { chmodSync, constants, lstatSync, readdirSync, rmSync } from "node:fs";
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { join } from "node:path";

const SEALED_FOLDER = 0o555;
const OWN_FOLDER = 0o700;
const READ_BYTES = 1024 * 1024;

/** Forbids to write a folder and all folders in it. */
export function sealFolders(path: string): void {
  for (const name of foldersIn(path)) sealFolders(join(path, name));
  sealFolder(path);
}

/** Forbids to write this folder alone: one that is to be moved first has to be open. */
export function sealFolder(path: string): void {
  chmodSync(path, SEALED_FOLDER);
}

export function openFolder(path: string): void {
  chmodSync(path, OWN_FOLDER);
}

/** Removes a folder with what is in it, sealed or not, or a file. Where there is none, there is nothing to do. Follows no link. */
export function removeTree(path: string): void {
  openFolders(path);
  rmSync(path, { recursive: true, force: true });
}

/** Whether a file, and no link in its place, has these bytes. */
export async function hasContent(path: string, bytes: number, sha256: string): Promise<boolean> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const found = await file.stat();
    if (!found.isFile() || found.size !== bytes) return false;
    const hash = createHash("sha256");
    const piece = new Uint8Array(Math.min(READ_BYTES, Math.max(1, bytes)));
    for (;;) {
      const { bytesRead } = await file.read(piece, 0, piece.length, null);
      if (bytesRead === 0) return hash.digest("hex") === sha256;
      hash.update(piece.subarray(0, bytesRead));
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ELOOP" || code === "ENOTDIR" || code === "EACCES")
      return false;
    throw error;
  }
}

/** Only who may write a folder can remove what is in it. What is gone meanwhile, or is no folder of ours, is left to the removal. */
function openFolders(path: string): void {
  try {
    if (!lstatSync(path).isDirectory()) return;
    openFolder(path);
    for (const name of foldersIn(path)) openFolders(join(path, name));
  } catch {
    // The removal says why.
  }
}

const foldersIn = (path: string): string[] =>
  readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
