/**
 * The manager's Ed25519 key pair and the id of its cluster, and checking tokens with them.
 *
 * `token-key.pem` in the state directory signs, and is its owner's alone; `token-key.pub` verifies, and may be given to every node.
 * `cluster-id` stays when the key is replaced.
 */
import { type KeyObject, createPrivateKey, generateKeyPairSync, randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { EnvironmentError, TokenRefused } from "../../base/errors.ts";
import {
  CLUSTER_ID,
  publicKeyText,
  readPublicKey,
  requireEd25519,
} from "../../protocol/token-key.ts";
import type { ShownToken } from "../../protocol/holder/proof.ts";
import {
  type Claims,
  type HolderKey,
  type Scope,
  TokenSigner,
  TokenVerifier,
} from "../../protocol/token.ts";
import { publishOnce, readSecret, replaceFile, unusable } from "../../trust/files.ts";
import { createStateDir } from "../state/state.ts";

const PRIVATE_NAME = "token-key.pem";
const PUBLIC_NAME = "token-key.pub";
const CLUSTER_NAME = "cluster-id";

/** The key pair of a state directory. */
export class TokenKeys {
  readonly #signer: TokenSigner;
  /** With the name of its cluster, as nodes read it. */
  readonly publicKey: string;

  private constructor(key: KeyObject, cluster: string) {
    this.#signer = new TokenSigner({ key, cluster });
    this.publicKey = publicKeyText({ key, cluster });
  }

  /** Whether the directory has a key pair: a manager without one is open to all. */
  static exist(stateDir: string): boolean {
    return existsSync(join(stateDir, PRIVATE_NAME));
  }

  /**
   * Opens the key pair, and makes it and the cluster's id on first use. Of several processes that make them at once, all get the same.
   *
   * @throws {EnvironmentError} when the private key can be read by others, or is none, or when the id is none.
   */
  static open(stateDir: string): TokenKeys {
    createStateDir(stateDir);
    const path = join(stateDir, PRIVATE_NAME);
    const cluster = clusterOf(stateDir);
    if (!existsSync(path)) createKey(path);
    const keys = new TokenKeys(readPrivateKey(path), cluster);
    keys.#publish(join(stateDir, PUBLIC_NAME));
    return keys;
  }

  async sign(claims: Claims): Promise<string> {
    return await this.#signer.sign(claims);
  }

  #publish(path: string): void {
    if (existsSync(path) && readFileSync(path, "utf8") === this.publicKey) return;
    replaceFile(path, this.publicKey, 0o644);
  }
}

export interface Admitted {
  user: string;
  maxCores: number | null;
  /** Whether it may look at the leases and bills of others, too: one that takes leases, or has only `bill`, may not. */
  seesAll: boolean;
  /** The only node that it is for; left out, any. */
  node?: string | undefined;
}

/** Has who shows a token with a holder's key prove that it is the holder. Rejects with {@link TokenRefused} where it is not. */
export type Proving = (shown: ShownToken & { holderKey: HolderKey }) => Promise<void>;

export interface Refused {
  /** The reason, and what to do. */
  refused: string;
  /** The token is valid, but does not permit its owner to do this. */
  forbidden?: boolean;
}

/** Decides who may do what. */
export interface TokenCheck {
  /** As nodes read it; null where no tokens are asked for. */
  readonly publicKey: string | null;
  /** Without `proving` it takes bearer tokens alone. */
  check(token: string | null, scope: Scope, proving?: Proving): Promise<Admitted | Refused>;
}

/** Admits those who show a token that was signed with the key, for its cluster. */
export class SignedTokens implements TokenCheck {
  readonly publicKey: string;
  readonly #verifier: TokenVerifier;
  readonly #now: () => number;

  /** Throws {@link EnvironmentError} when `publicKey` is not what {@link TokenKeys} says. */
  constructor(publicKey: string, now: () => number = Date.now) {
    this.publicKey = publicKey;
    this.#verifier = new TokenVerifier(readPublicKey(publicKey, "the public key for tokens"));
    this.#now = now;
  }

  async check(
    token: string | null,
    scope: Scope,
    proving: Proving = noProof,
  ): Promise<Admitted | Refused> {
    if (!token)
      return {
        refused:
          "a token is needed; ask this cluster's administrator for one (rfaas token create) and set RFAAS_TOKEN",
      };
    try {
      const claims = await this.#verifier.verify(token, this.#now(), scope);
      const { user, maxCores, scopes, node, holderKey } = claims;
      if (holderKey) await proving({ token, cluster: this.#verifier.cluster, holderKey });
      const looks = scopes.includes("read") && !scopes.includes("client");
      const seesAll = scopes.includes("admin") || looks;
      return { user, maxCores, seesAll, ...(node === undefined ? {} : { node }) };
    } catch (error) {
      if (!(error instanceof TokenRefused)) throw error;
      return { refused: error.message, forbidden: error.reason === "scope" };
    }
  }
}

const noProof: Proving = async () => {
  throw new TokenRefused(
    "unproven",
    "the token counts for its holder alone, who has shown no proof; use the text that rfaas token create has printed, whole, with an rfaas of this version",
  );
};

/** Admits every client, anonymously: for a manager or node without a key. */
export class NoTokens implements TokenCheck {
  static readonly user = "anonymous";
  readonly publicKey = null;

  async check(): Promise<Admitted> {
    return { user: NoTokens.user, maxCores: null, seesAll: true };
  }
}

/** The id of the state directory's cluster, which is made on first use. Throws {@link EnvironmentError}. */
export function clusterOf(stateDir: string): string {
  const path = join(stateDir, CLUSTER_NAME);
  if (!existsSync(path)) publishOnce(path, `${randomUUID()}\n`, 0o644);
  let cluster: string;
  try {
    cluster = readFileSync(path, "utf8").trim();
  } catch (error) {
    throw unusable(path, error);
  }
  if (CLUSTER_ID.test(cluster)) return cluster;
  throw new EnvironmentError(
    `${path} holds no id of a cluster; restore it, or remove it to make a new one, and new tokens for it`,
  );
}

function createKey(path: string): void {
  const { privateKey } = generateKeyPairSync("ed25519");
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  publishOnce(path, pem, 0o600);
}

function readPrivateKey(path: string): KeyObject {
  const pem = readSecret(path);
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    // The cause may quote the key.
    throw new EnvironmentError(`${path} is no key; restore it, or remove it to make a new one`);
  }
  requireEd25519(key, path);
  return key;
}
