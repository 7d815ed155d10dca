/** What a member of a cluster keeps: its key, its certificate with that of the authority, and whom and what it told to get in. */
import { X509Certificate, createPrivateKey } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { ProtocolError } from "../../base/errors.ts";
import { type NetworkAddress, placeOf } from "../../control/address.ts";
import type { Enrolled } from "../../protocol/manager-messages.ts";
import { validityOf } from "../../trust/certificates.ts";
import type { CredentialFiles } from "../../trust/credentials.ts";
import type { Pin } from "../../trust/fingerprint.ts";
import { readSecret, replaceFile, unusable } from "../../trust/files.ts";
import { pinnedCa } from "../../trust/pinned-ca.ts";

/** Key, certificate and the authority's certificate, in one file: they belong together. */
const TLS = "tls.pem";
const MEMBERSHIP = "membership.json";
const PRIVATE_KEY = /-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----/s;

/** What else is kept of a membership. */
const Kept = Type.Object({
  manager: Type.String(),
  /** With whom the node trusted there as it joined; left out, on its own machine. */
  pin: Type.Optional(
    Type.Object({
      of: Type.Union([Type.Literal("ca"), Type.Literal("key")]),
      fingerprint: Type.Unsafe<Pin["fingerprint"]>(
        Type.String({ pattern: "^sha256:[0-9a-f]{64}$" }),
      ),
    }),
  ),
  issuedAtMs: Type.Number(),
  token: Type.Union([Type.String(), Type.Null()]),
});
type Kept = Static<typeof Kept>;

/** A certificate of the cluster's authority, and what came with it. */
export interface Certified {
  /** In PEM, without the authority's. */
  certificate: string;
  token: string | null;
  pin: Pin | undefined;
  issuedAtMs: number;
  untilMs: number;
}

export class MemberFiles {
  readonly #folder: string;

  /** Makes the folder where it is missing. Throws {@link EnvironmentError}. */
  constructor(folder: string) {
    this.#folder = folder;
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw unusable(folder, error);
    }
  }

  /** The node's key and its certificates, for its listener. */
  get tls(): CredentialFiles {
    return { certificate: this.#path(TLS), key: this.#path(TLS) };
  }

  /** The node's key in PEM; undefined before it has one, and where what it has is damaged. */
  key(): string | undefined {
    const [pem] = PRIVATE_KEY.exec(this.#read(TLS) ?? "") ?? [];
    try {
      if (pem !== undefined) createPrivateKey(pem);
      return pem;
    } catch {
      return undefined;
    }
  }

  /** The membership in the cluster of these managers; why there is none, as a clause, where there is none. */
  certified(managers: readonly NetworkAddress[], nowMs: number): Certified | string {
    const chain = this.#read(TLS);
    const kept = this.#kept();
    if (chain === undefined || !kept) return "it has no certificate";
    const manager = managers.find((one) => placeOf(one) === kept.manager);
    const pin = manager && pinOf(manager);
    if (!manager) return `it has one of the cluster of the manager at ${kept.manager}`;
    if (pin && kept.pin && pin.fingerprint !== kept.pin.fingerprint)
      return `it has joined when ${kept.pin.fingerprint} was pinned, and ${pin.fingerprint} is`;
    const read = readCertificate(chain);
    if (!read || this.key() === undefined) return "its key or its certificate is damaged";
    const { certificate, untilMs } = read;
    if (untilMs <= nowMs)
      return `its certificate has expired at ${new Date(untilMs).toISOString()}`;
    return { certificate, token: kept.token, pin: kept.pin, issuedAtMs: kept.issuedAtMs, untilMs };
  }

  /** Keeps what the manager has issued for the key. Throws {@link EnvironmentError}, and {@link ProtocolError} where it is of no use. */
  keep(
    manager: NetworkAddress,
    { key, certificate, ca, token }: Enrolled & { key: string },
    issuedAtMs: number,
  ): Certified {
    const read = readCertificate(certificate);
    if (!read || !new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key)))
      throw new ProtocolError(
        `what the manager at ${placeOf(manager)} has issued is no certificate for this node's key; see its log, and update it`,
      );
    const pin = pinOf(manager);
    const kept: Kept = { manager: placeOf(manager), ...(pin ? { pin } : {}), issuedAtMs, token };
    const parts = [key, certificate, ca].map((pem) => pem.trim());
    replaceFile(this.#path(TLS), `${parts.join("\n")}\n`, 0o600);
    replaceFile(this.#path(MEMBERSHIP), `${JSON.stringify(kept)}\n`, 0o600);
    return { certificate, token, pin, issuedAtMs, untilMs: read.untilMs };
  }

  #kept(): Kept | undefined {
    try {
      const kept: unknown = JSON.parse(this.#read(MEMBERSHIP) ?? "null");
      return Value.Check(Kept, kept) ? kept : undefined;
    } catch {
      return undefined;
    }
  }

  /** Undefined where there is no such file. */
  #read(name: string): string | undefined {
    const path = this.#path(name);
    return existsSync(path) ? readSecret(path) : undefined;
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }
}

/** The first certificate of a chain, in PEM, and until when it is good. */
function readCertificate(chain: string): { certificate: string; untilMs: number } | undefined {
  try {
    const certificate = new X509Certificate(chain).toString();
    return { certificate, untilMs: validityOf(certificate).untilMs };
  } catch {
    return undefined;
  }
}

/** With whom the address, or else the user, says to trust there. */
const pinOf = ({ secure }: NetworkAddress): Pin | undefined => secure?.pin ?? pinnedCa();
