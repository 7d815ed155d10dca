/**
 * The manager's Ed25519 key pair and the id of its cluster, and checking tokens with them.
 *
 * `token-key.pem` in the state directory signs, and is its owner's alone; `token-key.pub` verifies, and may be given to every node.
 * `cluster-id` stays when the key is replaced. Keys that were replaced and still count for a while are in `former-token-keys.json`.
 */
import { type KeyObject, createPrivateKey, generateKeyPairSync, randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { EnvironmentError, TokenRefused } from "../../base/errors.ts";
import {
  CLUSTER_ID,
  MAX_FORMER_KEYS,
  type RingKey,
  publicKeyText,
  readPublicKey,
  readPublicKeys,
  requireEd25519,
} from "../../protocol/token-key.ts";
import type { ShownToken } from "../../protocol/holder/proof.ts";
import {
  type Claims,
  type HolderKey,
  LAST_MS,
  type Scope,
  TokenSigner,
  TokenVerifier,
  keyIdOf,
} from "../../protocol/token.ts";
import { Type } from "@sinclair/typebox";
import { Revocations, describeRevocation } from "../../protocol/tokens/revocation.ts";
import { publishOnce, readSecret, replaceFile, unusable } from "../../trust/files.ts";
import { FileRecords } from "../state/records.ts";
import { createStateDir } from "../state/state.ts";

const PRIVATE_NAME = "token-key.pem";
const PUBLIC_NAME = "token-key.pub";
const CLUSTER_NAME = "cluster-id";
const FORMER_NAME = "former-token-keys.json";

/** By its id. */
const FormerKey = Type.Object({
  publicKey: Type.String({ maxLength: 1024 }),
  untilMs: Type.Number({ minimum: 0, maximum: LAST_MS }),
});

/** The key pair of a state directory. */
export class TokenKeys {
  readonly #signer: TokenSigner;
  /** With the name of its cluster and the keys that it has replaced, as nodes read it. */
  readonly publicKey: string;
  readonly cluster: string;

  private constructor(key: KeyObject, cluster: string, former: readonly RingKey[]) {
    this.#signer = new TokenSigner({ key, cluster });
    const own = publicKeyText({ key, cluster });
    // A key that is being replaced is among them already.
    const others = former.filter((one) => publicKeyText({ ...one, untilMs: null }) !== own);
    this.publicKey = publicKeyText({ key, cluster }, ...others);
    this.cluster = cluster;
  }

  /**
   * Makes a new key, which signs from now on. The present one verifies until `untilMs`, and so do those that were replaced before, until their
   * times.
   *
   * @throws {EnvironmentError} as {@link TokenKeys.open}, or when too many keys would count
   */
  static async rotate(stateDir: string, untilMs: number, nowMs: number): Promise<TokenKeys> {
    const [present] = readPublicKeys(TokenKeys.open(stateDir).publicKey, "the key");
    using former = new FileRecords(join(stateDir, FORMER_NAME), FormerKey);
    const changes = new Map<string, { publicKey: string; untilMs: number } | undefined>();
    let counting = 0;
    for (const [id, key] of former.all())
      if (key.untilMs <= nowMs) changes.set(id, undefined);
      else counting++;
    if (counting >= MAX_FORMER_KEYS)
      throw new EnvironmentError(
        `${counting} keys that were replaced still count, which is as many as nodes keep; wait until one does not (rfaas token list), or move ${join(stateDir, FORMER_NAME)} away, which ends them`,
      );
    if (untilMs > nowMs)
      changes.set(await keyIdOf(present), { publicKey: publicKeyText(present), untilMs });
    // In this order: at no moment is a token refused that is to be taken.
    await former.change(changes);
    replaceFile(join(stateDir, PRIVATE_NAME), newKey(), 0o600);
    return TokenKeys.open(stateDir);
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
    const keys = new TokenKeys(readPrivateKey(path), cluster, formerKeys(stateDir));
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
  /** Undefined where no tokens are asked for. */
  token?: Claims | undefined;
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
  readonly #revocations: Revocations;

  /** Throws {@link EnvironmentError} when `publicKey` is not what {@link TokenKeys} says. */
  constructor(
    publicKey: string,
    now: () => number = Date.now,
    revocations: Revocations = new Revocations(),
  ) {
    this.publicKey = publicKey;
    this.#verifier = new TokenVerifier(...readPublicKeys(publicKey, "the public key for tokens"));
    this.#now = now;
    this.#revocations = revocations;
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
      const revoked = this.#revocations.of(claims);
      if (revoked) throw new TokenRefused("revoked", describeRevocation(revoked));
      if (holderKey) await proving({ token, cluster: this.#verifier.cluster, holderKey });
      const looks = scopes.includes("read") && !scopes.includes("client");
      const seesAll = scopes.includes("admin") || looks;
      return { user, maxCores, token: claims, seesAll, ...(node === undefined ? {} : { node }) };
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

/** Those that were replaced, the last one first; not all of them may still count. */
function formerKeys(stateDir: string): RingKey[] {
  using former = new FileRecords(join(stateDir, FORMER_NAME), FormerKey);
  return [...former.all().values()]
    .toSorted((one, other) => other.untilMs - one.untilMs)
    .slice(0, MAX_FORMER_KEYS)
    .map(({ publicKey, untilMs }) => ({ ...readPublicKey(publicKey, FORMER_NAME), untilMs }));
}

function createKey(path: string): void {
  publishOnce(path, newKey(), 0o600);
}

function newKey(): string {
  const { privateKey } = generateKeyPairSync("ed25519");
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
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
