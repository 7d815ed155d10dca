/** A cluster that signs tokens, without a manager. */
import { type KeyObject, generateKeyPairSync } from "node:crypto";
import { publicKeyText } from "../../src/protocol/token-key.ts";
import { UsageError } from "../../src/base/errors.ts";
import type { TokenTables } from "../../src/manager/tokens/tables.ts";
import { type Claims, TokenSigner } from "../../src/protocol/token.ts";

export class SigningCluster {
  readonly cluster: string;
  readonly privateKey: KeyObject;
  /** As `--token-key` reads it. */
  readonly publicKey: string;
  readonly #signer: TokenSigner;

  /** With another `privateKey`, it is a cluster that has replaced its key. */
  constructor(cluster = "test", privateKey = generateKeyPairSync("ed25519").privateKey) {
    this.cluster = cluster;
    this.privateKey = privateKey;
    this.publicKey = publicKeyText({ cluster, key: privateKey });
    this.#signer = new TokenSigner({ cluster, key: privateKey });
  }

  /** A token without limits for `ada`, who takes leases, except for what `claims` say. */
  token(claims: Partial<Claims> = {}): Promise<string> {
    return this.#signer.sign({
      id: "1",
      user: "ada",
      maxCores: null,
      expiresAtMs: null,
      scopes: ["client"],
      issuedAtMs: 0,
      ...claims,
    });
  }
}

/** A manager's table of users, of whom none has a limit. */
export const NO_LIMITS = { all: () => new Map<string, never>(), change: async () => {} };

/** The tables of a manager that has issued no token. */
export const NONE_ISSUED: Pick<TokenTables, "list" | "revoke"> = {
  list: () => [],
  revoke: async () => {
    throw new UsageError("there is no such token");
  },
};
