/**
 * What a manager keeps of tokens: those that it has issued, never the tokens themselves, and those that it has revoked. An entry goes when its
 * token has expired by itself.
 */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { type Static, Type } from "@sinclair/typebox";
import { TokenRefused, UsageError } from "../../base/errors.ts";
import {
  type Claims,
  LAST_MS,
  SCOPES,
  TokenId,
  TokenNode,
  UserName,
} from "../../protocol/token.ts";
import {
  MAX_GRACE_MS,
  Revocation,
  Revocations,
  describeRevocation,
  nameOfRevocation,
} from "../../protocol/tokens/revocation.ts";
import { FileRecords, type Records } from "../state/records.ts";
import { createStateDir } from "../state/state.ts";
import { TokenKeys } from "./keys.ts";

const ISSUED_NAME = "issued-tokens.json";
/** Also what a node without a manager reads. */
export const REVOKED_NAME = "revoked-tokens.json";
export const MAX_LABEL_CHARACTERS = 128;

const time = Type.Number({ minimum: 0, maximum: LAST_MS });

/** What is known of a token that was issued. */
export const IssuedToken = Type.Object({
  id: TokenId,
  user: UserName,
  scopes: Type.Array(Type.String(), { description: SCOPES.join(", ") }),
  /** The cluster that it is for. */
  audience: Type.String(),
  issuedAtMs: time,
  /** Null for never. */
  expiresAtMs: Type.Union([time, Type.Null()]),
  /** The only node that it is for. */
  node: Type.Optional(TokenNode),
  /** What who made it has called it. */
  label: Type.Optional(Type.String({ maxLength: MAX_LABEL_CHARACTERS })),
  /** Any holder may use it. */
  bearer: Type.Optional(Type.Boolean()),
});
export type IssuedToken = Static<typeof IssuedToken>;

/** One of them as it is listed. */
export const ListedToken = Type.Composite([
  IssuedToken,
  Type.Object({ state: Type.Union([Type.Literal("valid"), Type.Literal("revoked")]) }),
]);
export type ListedToken = Static<typeof ListedToken>;

/** What a token that is in no list says of itself. */
export type KnownToken = Pick<Claims, "user" | "expiresAtMs">;

/** What is to be revoked: one token, or all of a user that were issued until now. */
export type Revoking = { id: string } | { user: string };

export interface TokenTablesOptions {
  issued: Records<IssuedToken>;
  revoked: Records<Revocation>;
  nowMs?: () => number;
}

export class TokenTables implements Disposable {
  readonly revocations = new Revocations();
  readonly #issued: Records<IssuedToken>;
  readonly #revoked: Records<Revocation>;
  readonly #nowMs: () => number;
  readonly #listeners: (() => void)[] = [];

  constructor({ issued, revoked, nowMs = Date.now }: TokenTablesOptions) {
    this.#issued = issued;
    this.#revoked = revoked;
    this.#nowMs = nowMs;
    this.revocations.replace(revoked.all().values());
    revoked.onChange(() => {
      this.revocations.replace(revoked.all().values());
      for (const listener of this.#listeners) listener();
    });
  }

  /**
   * Those of a state directory, which is made where it is missing. With `onProblem`, it hears of what other processes change there.
   *
   * @throws {EnvironmentError} one of its files is damaged
   */
  static open(stateDir: string, onProblem?: (message: string) => void): TokenTables {
    createStateDir(stateDir);
    const issued = new FileRecords(join(stateDir, ISSUED_NAME), IssuedToken);
    const revoked = new FileRecords(join(stateDir, REVOKED_NAME), Revocation);
    if (onProblem) for (const table of [issued, revoked]) table.watch(onProblem);
    return new TokenTables({ issued, revoked });
  }

  /** Calls `listener` when other tokens are revoked than before. */
  onRevoked(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Those that have not expired, of one user or of all; the newest first. */
  list(user?: string): ListedToken[] {
    const nowMs = this.#nowMs();
    return [...this.#issued.all().values()]
      .filter((token) => !isOver(token.expiresAtMs, nowMs))
      .filter((token) => user === undefined || token.user === user)
      .toSorted((one, other) => other.issuedAtMs - one.issuedAtMs)
      .map((token) => ({ ...token, state: this.revocations.of(token) ? "revoked" : "valid" }));
  }

  /** When a token is issued that is to count, though all of its user were revoked a moment ago. */
  issueTimeMs(user: string): number {
    const revoked = this.#revoked.all().get(nameOfRevocation({ user } as Revocation));
    const nowMs = Math.floor(this.#nowMs() / 1000) * 1000;
    // Tokens count whole seconds.
    return Math.max(nowMs, Math.floor((revoked?.issuedUpToMs ?? -1000) / 1000) * 1000 + 1000);
  }

  /** Keeps what the token says, before it is given to anyone. Rejects with {@link EnvironmentError}. */
  async issued(claims: Claims, audience: string, label?: string): Promise<void> {
    const { id, user, scopes, issuedAtMs, expiresAtMs, node, holderKey } = claims;
    const nowMs = this.#nowMs();
    const called = label ?? this.#issued.all().get(id)?.label;
    const changes = new Map<string, IssuedToken | undefined>();
    for (const [name, token] of this.#issued.all())
      if (isOver(token.expiresAtMs, nowMs)) changes.set(name, undefined);
    changes.set(id, {
      ...{ id, user, scopes: [...scopes], audience, issuedAtMs, expiresAtMs },
      ...(node === undefined ? {} : { node }),
      ...(called === undefined ? {} : { label: called }),
      ...(holderKey ? {} : { bearer: true }),
    });
    await this.#issued.change(changes);
  }

  /**
   * Revokes one token, or all that a user has. Of one that is not in the list, because an earlier rfaas has made it, what it says itself is
   * `known`. Returns the entry.
   *
   * @throws {UsageError} there is no such token
   * @throws {EnvironmentError} it cannot be kept
   */
  async revoke(what: Revoking, graceMs: number, known?: KnownToken): Promise<Revocation> {
    const atMs = this.#nowMs();
    const entry = "id" in what ? this.#ofOne(what.id, known) : ofAll(what.user, atMs);
    const revocation: Revocation = { ...entry, atMs, graceMs: Math.min(graceMs, MAX_GRACE_MS) };
    const changes = new Map<string, Revocation | undefined>();
    for (const [name, { untilMs }] of this.#revoked.all())
      if (isOver(untilMs, atMs)) changes.set(name, undefined);
    changes.set(nameOfRevocation(revocation), revocation);
    await this.#revoked.change(changes);
    return revocation;
  }

  [Symbol.dispose](): void {
    this.#issued[Symbol.dispose]();
    this.#revoked[Symbol.dispose]();
  }

  #ofOne(
    id: string,
    known: KnownToken | undefined,
  ): Pick<Revocation, "token" | "user" | "untilMs"> {
    const token = this.#issued.all().get(id) ?? known;
    if (!token)
      throw new UsageError(
        `no token with the id ${JSON.stringify(id.slice(0, 64))} is known; see rfaas token list, or give the token itself, or revoke all of its user: --user NAME`,
      );
    return { token: id, user: token.user, untilMs: token.expiresAtMs };
  }
}

/** Tokens that earlier versions have issued are in no list, so that it is not known when the last one expires. */
const ofAll = (user: string, atMs: number) => ({ user, issuedUpToMs: atMs, untilMs: null });

const isOver = (untilMs: number | null, nowMs: number): boolean =>
  untilMs !== null && untilMs <= nowMs;

/** Signs a token with the key of a state directory, which is made on first use, and keeps what it says. Throws {@link EnvironmentError}. */
export async function issueToken(
  stateDir: string,
  claims: Omit<Claims, "id" | "issuedAtMs"> & { id?: string },
  label?: string,
): Promise<string> {
  const keys = TokenKeys.open(stateDir);
  using tables = TokenTables.open(stateDir);
  const issuedAtMs = tables.issueTimeMs(claims.user);
  const whole = { id: randomUUID(), ...claims, issuedAtMs };
  const signed = await keys.sign(whole);
  await tables.issued(whole, keys.cluster, label);
  return signed;
}

/**
 * Signs a token that says the same as another one, under the same id: for `ttlMs` from now on, or for as long again.
 *
 * @throws {TokenRefused} it was revoked, or has expired where it is to renew itself
 */
export async function renewToken(
  stateDir: string,
  { issuedAtMs, expiresAtMs, ...claims }: Claims,
  { ttlMs, nowMs = Date.now() }: { ttlMs?: number | null; nowMs?: number } = {},
): Promise<string> {
  using tables = TokenTables.open(stateDir);
  const revoked = tables.revocations.of({ ...claims, issuedAtMs });
  if (revoked) throw new TokenRefused("revoked", describeRevocation(revoked));
  const lastsMs = ttlMs === undefined && expiresAtMs !== null ? expiresAtMs - issuedAtMs : ttlMs;
  // Tokens count whole seconds.
  const until = lastsMs == null ? null : Math.ceil((nowMs + lastsMs) / 1000) * 1000;
  return await issueToken(stateDir, { ...claims, expiresAtMs: until });
}

/**
 * As {@link renewToken}, for one whose holder asks for it.
 *
 * @throws {TokenRefused} it may not renew itself, too
 */
export async function renewOwn(stateDir: string, claims: Claims): Promise<string> {
  const { user, scopes, holderKey, expiresAtMs } = claims;
  const why = !scopes.includes("renew")
    ? "has not the scope renew"
    : !holderKey
      ? "has no key, so that who has it could go on for ever"
      : expiresAtMs !== null && expiresAtMs <= Date.now()
        ? "has expired"
        : undefined;
  if (why === undefined) return await renewToken(stateDir, claims);
  throw new TokenRefused(
    "scope",
    `the token of ${user} ${why}; ask this cluster's administrator for a newer one (rfaas token renew)`,
  );
}
