/**
 * The manager's Ed25519 key pair, and checking tokens with it.
 *
 * `token-key.pem` in the state directory signs, and is its owner's alone; `token-key.pub` verifies, and may be given to every node.
 */
import {
  type KeyObject,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomUUID,
} from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  fstatSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { EnvironmentError, TokenRefused } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";
import { type Claims, type Scope, signToken, verifyToken } from "../../protocol/token.ts";
import { createStateDir, syncDirectory } from "../state/state.ts";

const PRIVATE_NAME = "token-key.pem";
const PUBLIC_NAME = "token-key.pub";

/** The key pair of a state directory. */
export class TokenKeys {
  readonly #privateKey: KeyObject;
  /** In PEM. */
  readonly publicKey: string;

  private constructor(privateKey: KeyObject) {
    this.#privateKey = privateKey;
    this.publicKey = createPublicKey(privateKey).export({ type: "spki", format: "pem" }).toString();
  }

  /** Whether the directory has a key pair: a manager without one is open to all. */
  static exist(stateDir: string): boolean {
    return existsSync(join(stateDir, PRIVATE_NAME));
  }

  /**
   * Opens the key pair, and makes it on first use. Of several processes that make it at once, all get the same.
   *
   * @throws {EnvironmentError} when the private key can be read by others, or is none.
   */
  static open(stateDir: string): TokenKeys {
    createStateDir(stateDir);
    const path = join(stateDir, PRIVATE_NAME);
    if (!existsSync(path)) create(stateDir, path);
    const keys = new TokenKeys(readPrivateKey(path));
    keys.#publish(join(stateDir, PUBLIC_NAME), stateDir);
    return keys;
  }

  sign(claims: Claims): string {
    return signToken(this.#privateKey, claims);
  }

  #publish(path: string, stateDir: string): void {
    if (existsSync(path) && readFileSync(path, "utf8") === this.publicKey) return;
    const fresh = writeFresh(stateDir, this.publicKey, 0o644);
    renameSync(fresh, path);
  }
}

export interface Admitted {
  user: string;
  maxCores: number | null;
  /** Whether it may look at the leases and bills of others, too: a user's token, which takes leases, may not. */
  seesAll: boolean;
}

export interface Refused {
  /** The reason, and what to do. */
  refused: string;
  /** The token itself is good: its owner is known, and may not do this. */
  forbidden?: boolean;
}

/** Decides who may do what. */
export interface TokenCheck {
  /** In PEM; null where no tokens are asked for. */
  readonly publicKey: string | null;
  check(token: string | null, scope: Scope): Admitted | Refused;
}

/** Admits whoever shows a token signed with the key. */
export class SignedTokens implements TokenCheck {
  readonly publicKey: string;
  readonly #key: KeyObject;
  readonly #now: () => number;

  /** Throws {@link EnvironmentError} when `publicKey` is not the PEM of an Ed25519 key. */
  constructor(publicKey: string, now: () => number = Date.now) {
    this.publicKey = publicKey;
    this.#key = readPublicKey(publicKey);
    this.#now = now;
  }

  check(token: string | null, scope: Scope): Admitted | Refused {
    if (!token)
      return {
        refused:
          "a token is needed; ask this cluster's administrator for one (rfaas token create) and set RFAAS_TOKEN",
      };
    try {
      const { user, maxCores, scopes } = verifyToken(this.#key, token, this.#now(), scope);
      return { user, maxCores, seesAll: scopes.includes("admin") || !scopes.includes("client") };
    } catch (error) {
      if (!(error instanceof TokenRefused)) throw error;
      return { refused: error.message, forbidden: error.reason === "scope" };
    }
  }
}

/** Admits everybody, as nobody in particular: a manager or node without a key. */
export class NoTokens implements TokenCheck {
  static readonly user = "anonymous";
  readonly publicKey = null;

  check(): Admitted {
    return { user: NoTokens.user, maxCores: null, seesAll: true };
  }
}

function create(stateDir: string, path: string): void {
  const { privateKey } = generateKeyPairSync("ed25519");
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const fresh = writeFresh(stateDir, pem, 0o600);
  try {
    // A rename would replace the key that another process has just made, and signed with.
    linkSync(fresh, path);
    syncDirectory(stateDir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw unusable(path, error);
  } finally {
    rmSync(fresh, { force: true });
  }
}

function readPrivateKey(path: string): KeyObject {
  let pem: string;
  let mode: number;
  try {
    const file = openSync(path, "r");
    try {
      mode = fstatSync(file).mode;
      pem = readFileSync(file, "utf8");
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw unusable(path, error);
  }
  if ((mode & 0o077) !== 0)
    throw new EnvironmentError(
      `others may read or write the key ${path} (mode ${(mode & 0o777).toString(8)}); make a new one if they may have, else: chmod 600 ${path}`,
    );
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    // The cause may quote the key.
    throw new EnvironmentError(`${path} is no key; restore it, or remove it to make a new one`);
  }
  return ed25519(key, path);
}

function readPublicKey(pem: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch (error) {
    throw new EnvironmentError(
      `the public key for tokens is no key; use the manager's ${PUBLIC_NAME}`,
      { cause: error },
    );
  }
  return ed25519(key, "the public key for tokens");
}

function ed25519(key: KeyObject, what: string): KeyObject {
  if (key.asymmetricKeyType !== "ed25519")
    throw new EnvironmentError(
      `${what} is of type ${key.asymmetricKeyType}; use an Ed25519 key, as rfaas token create makes it`,
    );
  return key;
}

/** A file of its own in the directory, on disk when this returns. */
function writeFresh(stateDir: string, text: string, mode: number): string {
  const path = join(stateDir, `.${randomUUID()}.new`);
  try {
    const file = openSync(path, "wx", mode);
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    rmSync(path, { force: true });
    throw unusable(path, error);
  }
  return path;
}

function unusable(path: string, error: unknown): EnvironmentError {
  return new EnvironmentError(
    `${path} cannot be used: ${reasonOf(error)}; see that its directory belongs to you and has room, or name another with --state DIR`,
    { cause: error },
  );
}
