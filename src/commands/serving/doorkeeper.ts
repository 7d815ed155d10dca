/** Who asks clients of `rfaas serve` who they are, and by which key. */
import { hostname } from "node:os";
import { Doorkeeper } from "../../executor/admission/identity.ts";
import type { Reloadable } from "../shared/reload.ts";

export interface DoorOptions {
  allowRemote?: boolean | undefined;
  name?: string | undefined;
  tokenKey?: string | undefined;
  manager?: string | undefined;
}

/** What can be read again goes to `files`: a manager's key takes the place of that of a file. Throws `EnvironmentError`. */
export function openDoor(
  { allowRemote = false, name = hostname(), tokenKey, manager }: DoorOptions,
  files: Reloadable[],
): Doorkeeper {
  const doorkeeper = new Doorkeeper(allowRemote, name);
  if (tokenKey === undefined) return doorkeeper;
  const read = (): void => doorkeeper.readKey(tokenKey);
  read();
  if (manager === undefined) files.push({ what: "the key of --token-key", read });
  return doorkeeper;
}
