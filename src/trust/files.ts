/** Files of keys and certificates: made whole and on disk, also where several processes make one at once, and read with care. */
import { randomUUID } from "node:crypto";
import {
  closeSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { EnvironmentError } from "../base/errors.ts";
import { reasonOf } from "../base/system-errors.ts";

/**
 * Makes the file, unless another process has made it first. Returns whether this one has. Throws {@link EnvironmentError}.
 */
export function publishOnce(path: string, text: string, mode: number): boolean {
  const fresh = writeFresh(path, text, mode);
  try {
    // A rename would replace what another process has just made, and used.
    linkSync(fresh, path);
    syncDirectory(dirname(path));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw unusable(path, error);
  } finally {
    rmSync(fresh, { force: true });
  }
}

/** Makes the file, or puts this text in its place. Throws {@link EnvironmentError}. */
export function replaceFile(path: string, text: string, mode: number): void {
  const fresh = writeFresh(path, text, mode);
  try {
    renameSync(fresh, path);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw unusable(path, error);
  }
}

/** The text of a file that is its owner's alone. Throws {@link EnvironmentError} where others may read or write it. */
export function readSecret(path: string): string {
  let text: string;
  let mode: number;
  try {
    const file = openSync(path, "r");
    try {
      mode = fstatSync(file).mode;
      text = readFileSync(file, "utf8");
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw unusable(path, error);
  }
  if ((mode & 0o077) === 0) return text;
  throw new EnvironmentError(
    `others may read or write the key ${path} (mode ${(mode & 0o777).toString(8)}); make a new one if they may have, else: chmod 600 ${path}`,
  );
}

/** How others could put keys of their own into the folder, in words that end with what to do; undefined where they cannot. */
export function whyOpenToOthers(folder: string): string | undefined {
  const { uid, mode } = statSync(folder);
  if (uid !== 0 && uid !== process.getuid!())
    return `the state directory ${folder} belongs to another user (uid ${uid}), who can put other keys there; name one of your own with --state`;
  if ((mode & 0o022) !== 0)
    return `other users may write to the state directory ${folder} (mode ${(mode & 0o777).toString(8)}), and put other keys there; run: chmod 700 ${folder}`;
  return undefined;
}

/** What to say of a file that cannot be read or written. */
export function unusable(path: string, error: unknown): EnvironmentError {
  return new EnvironmentError(
    `${path} cannot be used: ${reasonOf(error)}; see that its directory belongs to you and has room, or name another with --state DIR`,
    { cause: error },
  );
}

/** A file beside `path`, on disk when this returns. */
function writeFresh(path: string, text: string, mode: number): string {
  const fresh = join(dirname(path), `.${randomUUID()}.new`);
  try {
    const file = openSync(fresh, "wx", mode);
    try {
      // All of it, or it throws: a disk that is full takes a part.
      writeFileSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    rmSync(fresh, { force: true });
    throw unusable(path, error);
  }
  return fresh;
}

/** A file made in the directory is still in it after a power failure, once this has returned. */
export function syncDirectory(path: string): void {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
