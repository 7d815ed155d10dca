/**
 * The cluster's certificate authority: issues the certificates of its nodes, and the manager's own. Its key and certificate are made
 * once, in the state directory: `ca-key.pem` has both and is its owner's alone; `ca.pem` has the certificate, for programs that know
 * no fingerprints, such as curl.
 */
import { X509Certificate, createPrivateKey } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { EnvironmentError, TokenRefused } from "../../base/errors.ts";
import {
  type Enrol,
  type Enrolled,
  MAX_NODE_NAME_CHARACTERS,
  NODE_NAME_PATTERN,
} from "../../protocol/manager-messages.ts";
import {
  type Credentials,
  certificateAuthority,
  issue,
  requestedKey,
  signingRequest,
  validityOf,
} from "../../trust/certificates.ts";
import { type Fingerprint, fingerprintOf } from "../../trust/fingerprint.ts";
import { MANAGER_URI, keyOf, nodeUri, whyOutOfDate } from "../../trust/judge.ts";
import { publishOnce, readSecret, replaceFile } from "../../trust/files.ts";
import { createStateDir } from "../state/state.ts";
import { clusterOf } from "../tokens/keys.ts";
import { JoinTokens } from "./join-tokens.ts";

const SECRET_NAME = "ca-key.pem";
const PUBLIC_NAME = "ca.pem";
const MANAGER_KEY_NAME = "manager-key.pem";
const DAY_MS = 86_400_000;
const CA_LIFE_MS = 3650 * DAY_MS;
/** How long a certificate is good where nothing else is asked for. */
export const DEFAULT_CERTIFICATE_TTL_MS = 90 * DAY_MS;

export interface AuthorityOptions {
  /** How long a certificate that it issues is good. Default 90 days. */
  certificateTtlMs?: number;
  /** A token for a node of this name, good for as long as its certificate; null where the cluster asks for none. */
  nodeToken?(name: string, good: { nowMs: number; untilMs: number }): Promise<string | null>;
}

export class Authority {
  /** Of its certificate, for those who pin it. */
  readonly fingerprint: Fingerprint;
  readonly #stateDir: string;
  readonly #credentials: Credentials;
  readonly #certificate: X509Certificate;
  readonly #joinTokens: JoinTokens;
  readonly #certificateTtlMs: number;
  readonly #nodeToken: NonNullable<AuthorityOptions["nodeToken"]>;

  private constructor(
    stateDir: string,
    credentials: Credentials,
    {
      certificateTtlMs = DEFAULT_CERTIFICATE_TTL_MS,
      nodeToken = async () => null,
    }: AuthorityOptions,
  ) {
    this.#stateDir = stateDir;
    this.#credentials = credentials;
    this.#certificate = new X509Certificate(credentials.chain);
    this.fingerprint = fingerprintOf(this.#certificate.raw);
    this.#joinTokens = new JoinTokens(stateDir);
    this.#certificateTtlMs = certificateTtlMs;
    this.#nodeToken = nodeToken;
  }

  /**
   * Opens the authority of a state directory, and makes it on first use. Of several processes that make it at once, all get the same.
   *
   * @throws {EnvironmentError} others may read its key, or the files cannot be used, or hold something else
   */
  static async open(stateDir: string, options: AuthorityOptions = {}): Promise<Authority> {
    createStateDir(stateDir);
    const path = join(stateDir, SECRET_NAME);
    if (!existsSync(path)) await create(path, clusterOf(stateDir));
    const credentials = readCredentials(path);
    publish(join(stateDir, PUBLIC_NAME), credentials.chain);
    return new Authority(stateDir, credentials, options);
  }

  /**
   * The manager's key, which is made once, with a new certificate: it is found under these names and addresses. Clients that pin nothing
   * know the manager by its key.
   */
  async managerCredentials(hosts: readonly string[], nowMs = Date.now()): Promise<Credentials> {
    const { key, request } = await signingRequest("rfaas manager", await this.#managerKey());
    const subject = { commonName: "rfaas manager", uri: MANAGER_URI, hosts };
    const validMs = this.#certificateTtlMs;
    return { key, chain: await issue(this.#credentials, request, { ...subject, validMs }, nowMs) };
  }

  /**
   * Lets a node in that shows a join token, or gives it another certificate for the key of the one that it shows.
   *
   * @throws {TokenRefused} it shows neither, or they are no good, or not for it; what it asks for is wrong
   */
  async enrol(asked: Enrol, nowMs = Date.now()): Promise<Enrolled> {
    const { name, request, joinToken, certificate } = asked;
    if (name.length > MAX_NODE_NAME_CHARACTERS || !new RegExp(NODE_NAME_PATTERN).test(name))
      throw malformed(
        `a certificate is for the name of a node, and ${JSON.stringify(name)} is none`,
      );
    const key = await keyAsked(request);
    if (joinToken !== null) this.#joinTokens.redeem(joinToken, { name, key }, nowMs);
    else if (certificate !== null) {
      this.#requireOwn(certificate, { name, key }, nowMs);
      this.#joinTokens.requireMember({ name, key });
    } else
      throw new TokenRefused("refused", `the node ${name} has not joined this cluster; ${JOIN}`);
    const commonName = name.slice(0, MAX_COMMON_NAME_CHARACTERS);
    const subject = { commonName, uri: nodeUri(name), validMs: this.#certificateTtlMs };
    const chain = await issue(this.#credentials, request, subject, nowMs);
    return {
      certificate: new X509Certificate(chain).toString(),
      ca: this.#certificate.toString(),
      token: await this.#nodeToken(name, { nowMs, untilMs: validityOf(chain).untilMs }),
    };
  }

  async #managerKey(): Promise<string> {
    const path = join(this.#stateDir, MANAGER_KEY_NAME);
    if (!existsSync(path)) publishOnce(path, (await signingRequest("rfaas manager")).key, 0o600);
    return readSecret(path);
  }

  #requireOwn(pem: string, { name, key }: { name: string; key: string }, nowMs: number): void {
    const shown = readCertificate(pem);
    const why = (): string | undefined => {
      if (!shown) return "the certificate that it shows cannot be read";
      if (!shown.checkIssued(this.#certificate) || !shown.verify(this.#certificate.publicKey))
        return "its certificate is of another cluster, or of an earlier CA of this one";
      if (keyOf(shown) !== key) return "its certificate is for another key";
      if (!(shown.subjectAltName ?? "").split(", ").includes(`URI:${nodeUri(name)}`))
        return "its certificate is for another name";
      return whyOutOfDate(shown, nowMs);
    };
    const reason = why();
    if (reason !== undefined)
      throw new TokenRefused("refused", `the node ${name} cannot renew: ${reason}; ${JOIN}`);
  }
}

/** X.520 has it so. */
const MAX_COMMON_NAME_CHARACTERS = 64;
const JOIN =
  "let it join with a token that rfaas node join-token prints on the manager's machine, by --join";

async function create(path: string, cluster: string): Promise<void> {
  const commonName = `rfaas CA of ${cluster.slice(0, 32)}`;
  const { key, chain } = await certificateAuthority({ commonName, validMs: CA_LIFE_MS });
  publishOnce(path, `${key.trim()}\n${chain.trim()}\n`, 0o600);
}

function readCredentials(path: string): Credentials {
  const text = readSecret(path);
  const chain = /-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/s.exec(text)?.[0] ?? "";
  const certificate = readCertificate(chain);
  try {
    const key = createPrivateKey(text);
    if (certificate?.ca && certificate.checkPrivateKey(key))
      return { key: key.export({ type: "pkcs8", format: "pem" }).toString(), chain };
  } catch {
    // The cause may quote the key.
  }
  throw new EnvironmentError(
    `${path} does not hold a CA's key and its certificate; restore it, or remove it to make a new CA, which each node must join and each client must pin`,
  );
}

function publish(path: string, chain: string): void {
  const text = `${chain.trim()}\n`;
  if (existsSync(path) && readFileSync(path, "utf8") === text) return;
  replaceFile(path, text, 0o644);
}

async function keyAsked(request: string): Promise<Fingerprint> {
  try {
    return await requestedKey(request);
  } catch (error) {
    throw malformed((error as Error).message);
  }
}

function readCertificate(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

function malformed(why: string): TokenRefused {
  return new TokenRefused("malformed", `the node's request is wrong: ${why}; update the node`);
}
