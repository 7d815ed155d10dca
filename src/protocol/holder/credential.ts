/**
 * What a user has in `RFAAS_TOKEN`. A bearer token is a text that counts for every one who has it. A token with a holder's key stands there
 * with its private key, `TOKEN.KEY`: peers get the token, which is of no use to them, and a proof for each connection; the key leaves the
 * program never.
 */
import {
  type KeyObject,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
} from "node:crypto";
import { TokenRefused } from "../../base/errors.ts";
import { type HolderKey, readClaims } from "../token.ts";
import { type Occasion, signProof } from "./proof.ts";

/** What precedes the 32 bytes of an Ed25519 key in PKCS#8 (RFC 8410). */
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");
const KEY = /^[A-Za-z0-9_-]{43}$/;

export class Credential {
  /** What is shown to peers. */
  readonly token: string;
  readonly #holder: { key: KeyObject; cluster: string } | undefined;

  private constructor(token: string, holder?: { key: KeyObject; cluster: string }) {
    this.token = token;
    this.#holder = holder;
  }

  /**
   * A text without a key is a bearer token, whatever else it is: who is shown it says so.
   *
   * @throws {TokenRefused} `malformed`: key and token do not belong together, or the key of a token that needs one is missing
   */
  static read(text: string): Credential {
    const parts = text.split(".");
    if (parts.length !== 4) {
      if (isBound(text)) throw wrong("its key is missing");
      return new Credential(text);
    }
    const token = parts.slice(0, 3).join(".");
    const { holderKey, cluster } = readClaims(token);
    const key = privateKey(parts[3]!);
    if (!key || publicJwk(key).x !== holderKey?.x) throw wrong("its key is not that of the token");
    return new Credential(token, { key, cluster });
  }

  /** As {@link Credential.read}, where there may be none. */
  static of(text: string | null | undefined): Credential | undefined {
    return text ? Credential.read(text) : undefined;
  }

  /** Whether it counts for its holder alone; else who is shown it can use it. */
  get isBound(): boolean {
    return this.#holder !== undefined;
  }

  /** A proof, for one peer and one question of its, that the holder shows the token. Not for bearer tokens. */
  async prove(occasion: Occasion): Promise<string> {
    const { key, cluster } = this.#holder!;
    return await signProof(key, { token: this.token, cluster }, occasion);
  }
}

/** Whether the token, as it is shown to a peer, counts for its holder alone. Says nothing of whether it is good. */
export function isBound(token: string): boolean {
  try {
    return readClaims(token).holderKey !== undefined;
  } catch {
    return false;
  }
}

/** A new key for a token that is about to be made. */
export class NewHolder {
  readonly holderKey: HolderKey;
  readonly #secret: string;

  constructor() {
    const { privateKey: key } = generateKeyPairSync("ed25519");
    this.holderKey = publicJwk(key);
    const pkcs8 = key.export({ format: "der", type: "pkcs8" });
    this.#secret = pkcs8.subarray(PKCS8.length).toString("base64url");
  }

  /** The text for {@link Credential.read}. */
  with(token: string): string {
    return `${token}.${this.#secret}`;
  }
}

function privateKey(text: string): KeyObject | undefined {
  if (!KEY.test(text)) return undefined;
  const key = Buffer.concat([PKCS8, Buffer.from(text, "base64url")]);
  return createPrivateKey({ key, format: "der", type: "pkcs8" });
}

function publicJwk(key: KeyObject): HolderKey {
  const { x } = createPublicKey(key).export({ format: "jwk" });
  return { kty: "OKP", crv: "Ed25519", x: x! };
}

const wrong = (why: string): TokenRefused =>
  new TokenRefused(
    "malformed",
    `the token in use is malformed: ${why}; copy it whole, as rfaas token create printed it`,
  );
