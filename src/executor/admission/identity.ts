/** Who may lease cores of this node. */
import { readFileSync } from "node:fs";
import { userInfo } from "node:os";
import { EnvironmentError, TokenRefused } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";
import { readPublicKey } from "../../protocol/token-key.ts";
import { TokenVerifier } from "../../protocol/token.ts";

/** Who pays for a lease. */
export interface Identity {
  user: string;
  /** On this node, at a time; null for no bound. */
  maxCores: number | null;
  /** Likewise of memory, heaps included; left out for no bound. */
  maxMemoryBytes?: number | undefined;
  /** By the wall clock, until when; null for no end. */
  untilMs: number | null;
  /** It stands for several people. */
  readonly shared?: true;
}

/** For how long a user may still hold leases. */
export function rightLeftMs({ untilMs }: Identity): number {
  return untilMs === null ? Infinity : untilMs - Date.now();
}

/** The user that the node runs as, over its Unix socket or over loopback. */
export const OWNER: Identity = { user: ownName(), maxCores: null, untilMs: null };
const ANONYMOUS: Identity = { user: "anonymous", maxCores: null, untilMs: null, shared: true };

/** Without a name in the environment, Bun knows none. */
function ownName(): string {
  const { username, uid } = userInfo();
  return username === "unknown" ? `uid-${uid}` : username;
}

export class Doorkeeper {
  readonly #allowRemote: boolean;
  #tokens: TokenVerifier | undefined;

  /** `allowRemote` admits every client that reaches the port, as long as the node has no key. */
  constructor(allowRemote: boolean) {
    this.#allowRemote = allowRemote;
  }

  /**
   * Every client but the node's own user needs a token signed by this key's owner from now on. Throws {@link EnvironmentError}.
   *
   * `text` is the key as its cluster writes it; `from` names it.
   */
  useKey(text: string, from: string): void {
    this.#tokens = new TokenVerifier(readPublicKey(text, from));
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

  /** Who a client is: by its token or, for a `trusted` client, by its connection. */
  async identify(token: string | null, trusted: boolean): Promise<Identity | { refused: string }> {
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
      const { user, maxCores, maxMemoryBytes, expiresAtMs } = await this.#tokens.verify(
        token,
        Date.now(),
        "client",
      );
      return { user, maxCores, maxMemoryBytes, untilMs: expiresAtMs };
    } catch (error) {
      if (!(error instanceof TokenRefused)) throw error;
      return { refused: error.message };
    }
  }
}
