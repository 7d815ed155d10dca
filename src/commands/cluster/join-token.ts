/** `rfaas node join-token`: makes a join token, and prints the command that uses it. */
import { JoinTokens } from "../../manager/enrolment/join-tokens.ts";
import { TokenKeys } from "../../manager/tokens/keys.ts";
import { managerAddressIn } from "../../manager/state/manager-address.ts";
import { formatDuration } from "../../base/units.ts";
import { log } from "../shared/log.ts";

export const DEFAULT_JOIN_TTL_MS = 3_600_000;
/** A token is for a node that is about to be started. */
export const MAX_JOIN_TTL_MS = 30 * 86_400_000;

export interface JoinTokenOptions {
  state: string;
  ttlMs?: number | undefined;
  /** For a node of this name alone, which may have joined before. */
  name?: string | undefined;
  json?: boolean | undefined;
}

/** Throws `EnvironmentError` where no manager that other machines reach has run with this state. */
export function printJoinToken({
  state,
  ttlMs = DEFAULT_JOIN_TTL_MS,
  name,
  json,
}: JoinTokenOptions): void {
  const manager = managerAddressIn(state);
  const nowMs = Date.now();
  const joinToken = new JoinTokens(state).create(ttlMs, nowMs, name);
  const expiresAt = new Date(nowMs + ttlMs).toISOString();
  process.stdout.write(
    json
      ? `${JSON.stringify({ manager, joinToken, expiresAt })}\n`
      : `rfaas serve --listen 0.0.0.0:7700 --manager '${manager}' --join ${joinToken}${name === undefined ? "" : ` --name ${name}`}\n`,
  );
  if (!TokenKeys.exist(state))
    log.info(
      "this cluster has no key, so that its nodes serve clients of other machines only with --allow-remote; make a key and a token for each user with: rfaas token create",
    );
  log.info(
    `type that on the machine that joins, within ${formatDuration(ttlMs)}; it is for one node`,
  );
}
