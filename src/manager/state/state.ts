/** Where a manager keeps what it must find again: its key, its ledger, the nodes it was told of. */
import { mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { EnvironmentError } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";

/** The state directory when none is named: `$XDG_STATE_HOME/rfaas`, or `~/.local/state/rfaas`. */
export function defaultStateDir(env: Record<string, string | undefined> = process.env): string {
  const base = env["XDG_STATE_HOME"];
  // The specification says to ignore a relative path.
  return join(base?.startsWith("/") ? base : join(homedir(), ".local", "state"), "rfaas");
}

/** Makes the directory, for its owner alone, if it is not there. Throws {@link EnvironmentError}. */
export function createStateDir(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new EnvironmentError(
      `the state directory ${path} cannot be created: ${reasonOf(error)}; name another with --state DIR`,
      { cause: error },
    );
  }
}

export const ledgerPath = (stateDir: string): string => join(stateDir, "ledger.sqlite");

/** Where a node keeps bills that no manager has taken. */
export const journalsPath = (stateDir = defaultStateDir()): string => join(stateDir, "bills");
