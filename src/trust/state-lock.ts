/**
 * One process a state: who takes the lock in a state directory has it for as long as it lives, and the kernel frees it at its death, of
 * whatever kind. A file beside the lock says who that is, for the error of the next one.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { EnvironmentError, StateInUse } from "../base/errors.ts";
import { reasonOf } from "../base/system-errors.ts";
import { FileLock } from "./file-lock.ts";

/** Longer than any that is written. */
const MAX_HOLDER_CHARACTERS = 300;

/**
 * Takes the lock of a directory that is there. `who` names its holder, such as `manager`, and the lock's file.
 *
 * @throws {StateInUse} another process has it; the message names that one
 * @throws {EnvironmentError} files cannot be made or locked there
 */
export function takeState(folder: string, who: string): FileLock {
  const path = join(folder, `${who}.lock`);
  let lock: FileLock | undefined;
  try {
    lock = FileLock.take(path);
  } catch (error) {
    throw new EnvironmentError(
      `the state directory ${folder} cannot be locked: ${reasonOf(error)}; see that it belongs to you and has room, or name another on a local disk with --state DIR`,
      { cause: error },
    );
  }
  if (lock) {
    tellHolder(folder, who);
    return lock;
  }
  throw new StateInUse(
    `another ${who} keeps its state in ${folder}${holderOf(folder, who)}; end that one, or name another directory with --state DIR`,
  );
}

/** The lock holds without it, such as on a disk that has become full. */
function tellHolder(folder: string, who: string): void {
  try {
    writeFileSync(holderPath(folder, who), `process ${process.pid} on ${hostname()}\n`, {
      mode: 0o600,
    });
  } catch {
    // The next process is refused without a name.
  }
}

const holderPath = (folder: string, who: string): string => join(folder, `${who}.holder`);

/** As a clause; empty where it is not known. */
function holderOf(folder: string, who: string): string {
  try {
    const text = readFileSync(holderPath(folder, who), "utf8").trim();
    return /^process \d+ on \S+$/.test(text) && text.length < MAX_HOLDER_CHARACTERS
      ? `: ${text}`
      : "";
  } catch {
    return "";
  }
}
