/**
 * Which tokens count no more, though they are signed and have not expired: one by its id, or all of a user that were issued until a moment.
 * Managers keep the list, nodes have a copy. Pure: the time comes with each question.
 */
import { type Static, Type } from "@sinclair/typebox";
import { LAST_MS, TokenId, UserName, isoTime } from "./names.ts";

const time = Type.Number({ minimum: 0, maximum: LAST_MS });
/** How long leases of a revoked token may go on. */
export const MAX_GRACE_MS = 86_400_000;
export const DEFAULT_GRACE_MS = 30_000;

export const Revocation = Type.Object({
  /** The id of the token; left out, it is for all of a user. */
  token: Type.Optional(TokenId),
  /** Whose it is. */
  user: UserName,
  /** Of all of a user's: those that were issued then or before. */
  issuedUpToMs: Type.Optional(time),
  /** When it was revoked. */
  atMs: time,
  /** When the token will have expired by itself, and the entry says nothing any more; null for never. */
  untilMs: Type.Union([time, Type.Null()]),
  /** How long its leases may go on from when a node hears of it. */
  graceMs: Type.Integer({ minimum: 0, maximum: MAX_GRACE_MS }),
});
export type Revocation = Static<typeof Revocation>;

/** What tells one token from another. */
export interface TokenMark {
  id: string;
  user: string;
  issuedAtMs: number;
}

/** Under which name an entry is kept: another one for the same takes its place. */
export const nameOfRevocation = ({ token, user }: Revocation): string =>
  token === undefined ? `user ${user}` : `token ${token}`;

export class Revocations {
  #byToken = new Map<string, Revocation>();
  #byUser = new Map<string, Revocation>();

  constructor(entries: Iterable<Revocation> = []) {
    this.replace(entries);
  }

  /** These and no others count from now on. */
  replace(entries: Iterable<Revocation>): void {
    this.#byToken = new Map();
    this.#byUser = new Map();
    for (const entry of entries)
      if (entry.token === undefined) this.#byUser.set(entry.user, entry);
      else this.#byToken.set(entry.token, entry);
  }

  /** By which entry a token counts no more; undefined when it does. An entry that is over concerns a token that has expired. */
  of({ id, user, issuedAtMs }: TokenMark): Revocation | undefined {
    const one = this.#byToken.get(id);
    if (one?.user === user) return one;
    const all = this.#byUser.get(user);
    return all && issuedAtMs <= (all.issuedUpToMs ?? all.atMs) ? all : undefined;
  }

  /** Those that still say something at `nowMs`. */
  entries(nowMs: number): Revocation[] {
    return [...this.#byToken.values(), ...this.#byUser.values()].filter(
      ({ untilMs }) => untilMs === null || untilMs > nowMs,
    );
  }
}

/** Why the token is refused, and what to do. */
export function describeRevocation({ user, atMs }: Revocation): string {
  return `the token of ${user} was revoked at ${isoTime(atMs)}; ask this cluster's administrator for a new one (rfaas token create --user ${user})`;
}

/** The same of a token whose key has been replaced, and counts no more. */
export function describeReplacedKey(user: string): string {
  return `the token of ${user} was signed with a key that this cluster has replaced; ask this cluster's administrator for a new one (rfaas token create --user ${user})`;
}
