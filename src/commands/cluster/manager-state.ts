/** Whether commands that work in a manager's state directory were told the right one. */
import { existsSync } from "node:fs";
import { UsageError } from "../../base/errors.ts";
import { ledgerPath } from "../../manager/state/state.ts";
import { TokenKeys } from "../../manager/tokens/keys.ts";

/**
 * Commands would make another directory, and say that what no manager ever reads counts.
 *
 * @throws {UsageError} neither a manager nor `rfaas token create` has made the directory
 */
export function requireManagerState(state: string): void {
  if (TokenKeys.exist(state) || existsSync(ledgerPath(state))) return;
  throw new UsageError(
    `there is no manager's state in ${state}; name its directory with --state DIR, or ask the manager with --http URL`,
  );
}
