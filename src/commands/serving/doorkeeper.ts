/** Who asks clients of `rfaas serve` who they are, and by which key. */
import { hostname } from "node:os";
import { UsageError } from "../../base/errors.ts";
import { Doorkeeper } from "../../executor/admission/identity.ts";
import { readRecords } from "../../manager/state/records.ts";
import { Revocation } from "../../protocol/tokens/revocation.ts";
import type { Reloadable } from "../shared/reload.ts";

export interface DoorOptions {
  allowRemote?: boolean | undefined;
  name?: string | undefined;
  tokenKey?: string | undefined;
  revokedTokens?: string | undefined;
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

/**
 * Tells `revoke` of the tokens that the file of --revoked-tokens has, now and whenever it is read again.
 *
 * Throws {@link UsageError}, and `EnvironmentError` for a file that is missing or damaged.
 */
export function readRevoked(
  { tokenKey, revokedTokens: path, manager }: DoorOptions,
  files: Reloadable[],
  revoke: (tokens: Iterable<Revocation>) => void,
): void {
  if (path === undefined) return;
  if (tokenKey === undefined || manager !== undefined)
    throw new UsageError(
      "--revoked-tokens is for a node with --token-key and without --manager: a manager says itself which tokens are revoked; leave it out",
    );
  const read = (): void => revoke(readRecords(path, Revocation).values());
  read();
  files.push({ what: "the tokens of --revoked-tokens", read });
}
