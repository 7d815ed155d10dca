/**
 * Where a room's user finds its folders: the node keeps them below its own folder of state, to which no other user has a way. Each room has
 * its own folder mounted there, which is an empty folder outside.
 */
import { chmodSync, lstatSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { EnvironmentError } from "../../../base/errors.ts";
import { reasonOf } from "../../../base/system-errors.ts";
import type { RoomFolders } from "../driver.ts";

const PLACE = "/run/rfaas-room";

export const foldersAtPlace: RoomFolders = {
  package: `${PLACE}/package`,
  scratch: `${PLACE}/scratch`,
};

/** What is mounted there, for a room with these folders. */
export function placed(folders: RoomFolders): { folder: string; at: string } {
  makePlace();
  return { folder: dirname(folders.scratch), at: PLACE };
}

/** Throws {@link EnvironmentError} where it is not root's, and open to all to pass. */
export function makePlace(): void {
  try {
    mkdirSync(PLACE, { mode: 0o755 });
    // Whatever the node's umask is.
    chmodSync(PLACE, 0o755);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw lacks(reasonOf(error), error);
  }
  const found = lstatSync(PLACE);
  if (!found.isDirectory() || found.uid !== 0 || (found.mode & 0o023) !== 0o001)
    throw lacks("it is no folder that root alone writes and all may pass");
}

const lacks = (why: string, cause?: unknown): EnvironmentError =>
  new EnvironmentError(
    `rooms of other users need the folder ${PLACE}, to which theirs are mounted: ${why}; make it, as root: install -d -m 755 ${PLACE}`,
    { cause },
  );
