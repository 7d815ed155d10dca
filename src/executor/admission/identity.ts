/** Who may lease cores of this node. */
import { readFileSync } from "node:fs";
import { userInfo } from "node:os";
import { EnvironmentError, TokenRefused } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";
import { type OwnEnd, checkProof, newNonce } from "../../protocol/holder/proof.ts";
import {
  type Revocation,
  Revocations,
  type TokenMark,
  describeRevocation,
} from "../../protocol/tokens/revocation.ts";
import { readPublicKeys } from "../../protocol/token-key.ts";
import { type CoreHours, TokenVerifier, readClaims } from "../../protocol/token.ts";

/** Who pays for a lease. */
export interface Identity {
  user: string;
  /** On this node, at a time; null for no bound. */
  maxCores: number | null;
  /** Likewise of memory, heaps included; left out for no bound. */
  maxMemoryBytes?: number | undefined;
  /** Likewise of leases, and what those may cost in a period. */
  maxLeases?: number | undefined;
  coreHours?: CoreHours | undefined;
  /** By the wall clock, until when; null for no end. */
  untilMs: number | null;
  /** Its share of the node while others wait, too, against theirs; left out, 1. */
  weight?: number | undefined;
  /** What its leases are for; left out, what their client says. */
  project?: string | undefined;
  /** What it was shown by; left out, how it came. */
  token?: (TokenMark & { holder: string | undefined; keyId: string }) | undefined;
  /** It stands for several people. */
  readonly shared?: true;
}

/** For how long a user may still hold leases. */
export function rightLeftMs({ untilMs }: Identity): number {
  return untilMs === null ? Infinity : untilMs - Date.now();
}

/** Why one who was let in before cannot go on as another; undefined where it is the same holder of a token, for the same project. */
export function whyAnother(before: Identity, now: Identity): string | undefined {
  if (!before.token || !now.token)
    return "this connection was let in without a token; connect again with one";
  if (before.user !== now.user)
    return `the token is of ${now.user} and the leases are of ${before.user}; show one of the same user`;
  if (before.token.holder !== now.token.holder)
    return `the token of ${now.user} has another key than the one before; renew it with the same one (rfaas token renew), or connect again`;
  if (before.project !== now.project)
    return `the token of ${now.user} is for ${now.project === undefined ? "no project" : `the project ${now.project}`}, unlike the one before; show one for the same`;
  return undefined;
}

/** The user that the node runs as, over its Unix socket or over loopback. */
export const OWNER: Identity = { user: ownName(), maxCores: null, untilMs: null };
const ANONYMOUS: Identity = { user: "anonymous", maxCores: null, untilMs: null, shared: true };

/** Without a name in the environment, Bun knows none. */
function ownName(): string {
  const { username, uid } = userInfo();
  return username === "unknown" ? `uid-${uid}` : username;
}

/** How a client that shows a token has come. */
export interface Arrived {
  /** In a way that is open to the node's own user alone. */
  trusted: boolean;
  /** The node's end of the connection. */
  end: OwnEnd;
  /** Has the client prove that it holds the key of its token; rejects when it does not answer. */
  prove(nonce: string): Promise<string>;
}

export class Doorkeeper {
  readonly #allowRemote: boolean;
  readonly #name: string;
  readonly #revocations = new Revocations();
  #tokens: TokenVerifier | undefined;
  #onKeys: (() => void) | undefined;
  #keys = "";

  /** `allowRemote` admits every client that reaches the port, as long as the node has no key; `name` is that of the node. */
  constructor(allowRemote: boolean, name = "") {
    this.#allowRemote = allowRemote;
    this.#name = name;
  }

  /**
   * Every client but the node's own user needs a token signed by this key's owner from now on. Throws {@link EnvironmentError}.
   *
   * `text` is the key as its cluster writes it; `from` names it.
   */
  useKey(text: string, from: string): void {
    // A manager says it again each time that it is connected to.
    if (text === this.#keys) return;
    this.#tokens = new TokenVerifier(...readPublicKeys(text, from));
    this.#keys = text;
    this.#onKeys?.();
  }

  /** Calls `listener` when other keys count than before: who was let in may not be any more, or not as long, as {@link keyUntilMs} says. */
  onKeys(listener: () => void): void {
    this.#onKeys = listener;
  }

  /** Until when the key counts that has signed a client's token; null for no end, undefined for one that counts no more. */
  async keyUntilMs({ token }: Identity): Promise<number | null | undefined> {
    if (!token || !this.#tokens) return null;
    const untilMs = await this.#tokens.untilOf(token.keyId);
    return untilMs != null && untilMs <= Date.now() ? undefined : untilMs;
  }

  /** These tokens, and no others, count no more though they are signed. */
  useRevocations(tokens: Iterable<Revocation>): void {
    this.#revocations.replace(tokens);
  }

  /** By which entry a client's token counts no more; undefined when it does, or the client has shown none. */
  revocationOf({ token }: Identity): Revocation | undefined {
    return token && this.#revocations.of(token);
  }

  /** As {@link useKey}, from a file. */
  readKey(path: string): void {
    let text: string;
    try {
      text = readFileSync(path, "utf8");
    } catch (cause) {
      throw new EnvironmentError(
        `the key ${path} cannot be read (${reasonOf(cause)}); check --token-key`,
        { cause },
      );
    }
    this.useKey(text, path);
  }

  /** Who a client is: by its token or, for a trusted client, by its connection. */
  async identify(token: string | null, by: Arrived): Promise<Identity | { refused: string }> {
    const { trusted } = by;
    if (!this.#tokens) {
      if (trusted) return OWNER;
      return this.#allowRemote
        ? ANONYMOUS
        : {
            refused:
              "over TCP only programs of the node's user may connect, over loopback; use its Unix socket, or serve with --token-key or a --manager that has a key, or with --allow-remote on a network that you trust",
          };
    }
    if (token === null)
      return trusted
        ? OWNER
        : { refused: "this node wants a token; set RFAAS_TOKEN, see: rfaas help token" };
    try {
      const tokens = this.#tokens;
      const claims = await tokens.verify(token, Date.now(), "client");
      const { id, user, maxCores, maxMemoryBytes, expiresAtMs, holderKey, project, weight } =
        claims;
      const revoked = this.#revocations.of(claims);
      if (revoked) throw new TokenRefused("revoked", describeRevocation(revoked));
      const { node = this.#name } = claims;
      if (node !== this.#name)
        throw new TokenRefused(
          "foreign",
          `the token of ${user} is for the node ${node} and not for ${this.#name}; ask this cluster's administrator for one (rfaas token create)`,
        );
      if (holderKey) {
        const nonce = newNonce();
        const proof = await by.prove(nonce);
        const shown = { token, cluster: tokens.cluster, holderKey };
        await checkProof(proof, shown, { ...by.end, nonce });
      }
      // Meanwhile other keys, or other revocations, may have come.
      if (this.#tokens !== tokens || this.#revocations.of(claims))
        return await this.identify(token, by);
      const { keyId } = readClaims(token);
      const mark = { id, user, issuedAtMs: claims.issuedAtMs, holder: holderKey?.x, keyId };
      const { maxLeases, coreHours } = claims;
      const limits = { maxCores, maxMemoryBytes, maxLeases, coreHours };
      return { user, ...limits, untilMs: expiresAtMs, project, weight, token: mark };
    } catch (error) {
      if (!(error instanceof TokenRefused)) throw error;
      return { refused: error.message };
    }
  }
}
