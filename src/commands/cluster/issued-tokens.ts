/** What `rfaas token` does with tokens that were issued: in the state directory of a manager, or by asking one. */
import { Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { countOf } from "../../base/units.ts";
import { ProtocolError, UsageError } from "../../base/errors.ts";
import type { Manager } from "../../manager/manager.ts";
import { type KnownToken, ListedToken, TokenTables } from "../../manager/tokens/tables.ts";
import { TokenKeys } from "../../manager/tokens/keys.ts";
import { Credential } from "../../protocol/holder/credential.ts";
import { DEFAULT_GRACE_MS } from "../../protocol/tokens/revocation.ts";
import { readClaims } from "../../protocol/token.ts";
import { log } from "../shared/log.ts";
import { printable, table } from "../shared/table.ts";
import type { ManagerClient } from "./manager-client.ts";
import { requireManagerState } from "./manager-state.ts";

const Tokens = Type.Object({ tokens: Type.Array(ListedToken) });

export interface IssuedAt {
  /** Asked where there is one; else the state directory is used. */
  manager: ManagerClient | undefined;
  state: string;
}

/** Has a manager tell its nodes which tokens count no more, and says which could not be told. */
export function tellRevoked(server: Pick<Manager, "tellRevoked">): void {
  const { told, deaf } = server.tellRevoked();
  log.info(`other tokens are revoked: ${countOf(told, "node")} told`);
  if (deaf.length > 0)
    log.warn(
      `${deaf.join(", ")}: of an earlier rfaas, which takes a token until it expires; update them, or drain them`,
    );
}

/** Prints those that have not expired. */
export async function listTokens(
  at: IssuedAt,
  { user, json = false }: { user?: string | undefined; json?: boolean | undefined },
): Promise<void> {
  const tokens = await tokensOf(at, user);
  process.stdout.write(json ? `${JSON.stringify({ tokens })}\n` : forPeople(tokens));
}

/** Revokes a token, by its id or by itself, or all of a user. */
export async function revokeTokens(
  { manager, state }: IssuedAt,
  {
    token,
    user,
    graceMs,
  }: { token: string | undefined; user: string | undefined; graceMs: number },
): Promise<void> {
  if ((token === undefined) === (user === undefined))
    throw new UsageError(
      "token revoke takes the id of a token (rfaas token list), the token itself, or --user NAME for all of a user; give one of them",
    );
  const { id, known } = token === undefined ? {} : named(token);
  if (user !== undefined && (await tokensOf({ manager, state }, user)).length === 0)
    log.warn(
      `no token of ${user} is in the list (rfaas token list): see whether the name is right; any that an earlier rfaas has made are revoked`,
    );
  if (manager) {
    const path =
      id === undefined
        ? `/v1/users/${encodeURIComponent(user!)}/revoke`
        : `/v1/tokens/${encodeURIComponent(id)}/revoke`;
    await manager.ask("POST", path, { graceMs, ...(known ? { known } : {}) });
  } else {
    requireManagerState(state);
    using tables = TokenTables.open(state);
    await tables.revoke(id === undefined ? { user: user! } : { id }, graceMs, known);
  }
  const what = id === undefined ? `all tokens of ${user} until now are` : `token ${id} is`;
  log.info(
    `${what} revoked: managers and nodes that are connected hear of it at once, others when they come back; leases end within ${graceMs / 1000} s of that`,
  );
}

/** Lets a new key sign from now on. */
export async function rotateKey(state: string, overlapMs: number): Promise<void> {
  if (!TokenKeys.exist(state))
    throw new UsageError(
      `there is no key in ${state}; rfaas token create makes one, or name the manager's directory with --state DIR`,
    );
  const nowMs = Date.now();
  await TokenKeys.rotate(state, nowMs + overlapMs, nowMs);
  log.info(
    overlapMs === 0
      ? `a new key signs, and tokens of the former one are refused from now on: make new ones. Their leases end within ${DEFAULT_GRACE_MS / 1000} s of when their node hears of it; a node whose own token (RFAAS_TOKEN) is of the former key hears of it when it is started with a new one`
      : `a new key signs; tokens of the former one count until ${new Date(nowMs + overlapMs).toISOString()} at most: make new ones in time`,
  );
}

/** Who gives a token itself tells whose it is, and until when. */
function named(text: string): { id: string; known?: KnownToken } {
  if (!text.includes(".")) return { id: text };
  const { id, user, expiresAtMs } = readClaims(Credential.read(text).token);
  return { id, known: { user, expiresAtMs } };
}

async function tokensOf(
  { manager, state }: IssuedAt,
  user: string | undefined,
): Promise<ListedToken[]> {
  if (!manager) {
    requireManagerState(state);
    using tables = TokenTables.open(state);
    return tables.list(user);
  }
  const query = user === undefined ? "" : `?user=${encodeURIComponent(user)}`;
  const answer: unknown = JSON.parse(await manager.ask("GET", `/v1/tokens${query}`));
  if (Value.Check(Tokens, answer)) return answer.tokens;
  throw new ProtocolError(
    "what answered is no list of tokens; is --http the address of an rfaas manager of this version?",
  );
}

function forPeople(tokens: readonly ListedToken[]): string {
  const header = ["id", "user", "scopes", "issued", "expires", "state", "for"];
  const lines = tokens.map(({ id, user, scopes, issuedAtMs, expiresAtMs, state, ...about }) => [
    ...[id, printable(user), scopes.join(",")],
    ...[day(issuedAtMs), expiresAtMs === null ? "never" : day(expiresAtMs), state],
    printable(about.label ?? about.node ?? (about.bearer ? "any bearer" : "-")),
  ]);
  return table([header, ...lines]);
}

const day = (ms: number): string => `${new Date(ms).toISOString().slice(0, 16)}Z`;
