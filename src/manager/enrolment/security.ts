/** How other machines know a manager: by a certificate of the cluster's own authority, or of its site's. */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { SecureContext } from "node:tls";
import {
  type NetworkAddress,
  foundAt,
  formatAddress,
  parseAddress,
} from "../../control/address.ts";
import { SecureWire } from "../../control/accept/secure-wire.ts";
import { type CredentialFiles, FileCredentials } from "../../trust/credentials.ts";
import { type Pin, fingerprintOf } from "../../trust/fingerprint.ts";
import type { Accept } from "../server.ts";
import type { KnownEnd } from "../tokens/known-end.ts";
import { nodeToken } from "../tokens/node-token.ts";
import { Authority } from "./authority.ts";
import { OwnCertificate } from "./own-certificate.ts";

export interface SecurityOptions {
  stateDir: string;
  /** All that the manager listens at. */
  listen: readonly NetworkAddress[];
  /** The site's certificate and key, where it has them; they may be replaced at any time. */
  own?: CredentialFiles | undefined;
  /** How long the certificates are good that the authority issues. */
  certificateTtlMs?: number | undefined;
  log(level: "info" | "warn", message: string): void;
}

/** TLS of a manager. */
export class Security implements Disposable {
  readonly authority: Authority;
  /** By what those who connect know the manager. */
  readonly pin: Pin;
  /** What a connection that comes now is met with. */
  readonly secureContext: () => SecureContext;
  /** How proofs name the manager. No other server is to have its key, so that the key is enough. */
  readonly known: KnownEnd;
  /** Reads the site's files again; throws, and keeps what it has, where they cannot be used. Left out, there are none. */
  readonly readAgain: (() => void) | undefined;
  readonly #issued: OwnCertificate | undefined;

  private constructor(
    authority: Authority,
    met: OwnCertificate | { credentials: FileCredentials; files: CredentialFiles },
  ) {
    this.authority = authority;
    if (met instanceof OwnCertificate) {
      this.#issued = met;
      this.readAgain = undefined;
      this.pin = { of: "ca", fingerprint: authority.fingerprint };
      this.secureContext = () => met.context;
      this.known = { key: () => met.key, sharesKey: false, places: [] };
    } else {
      const { credentials, files } = met;
      this.readAgain = () => credentials.readAgain();
      this.pin = caIn(files.certificate) ?? { of: "key", fingerprint: credentials.fingerprint };
      this.secureContext = () => credentials.context();
      this.known = { key: () => credentials.fingerprint, sharesKey: false, places: [] };
    }
  }

  /** Makes what is missing in the state directory. Throws `EnvironmentError`, and `UsageError` when the site's files are wrong. */
  static async open(options: SecurityOptions): Promise<Security> {
    const { stateDir, listen, own, certificateTtlMs, log } = options;
    const warn = (message: string): void => log("warn", message);
    const met = own && { credentials: new FileCredentials(own, { warn }), files: own };
    const authority = await Authority.open(stateDir, {
      ...(certificateTtlMs === undefined ? {} : { certificateTtlMs }),
      nodeToken: (name, good) => nodeToken(stateDir, name, good),
    });
    if (met) return new Security(authority, met);
    const hosts = listen.map(({ host }) => host);
    const issued = await OwnCertificate.issuedBy(authority, { listen: hosts, log });
    return new Security(authority, issued);
  }

  /** TLS over a connection that comes. */
  readonly accept: Accept = (raw, events) => new SecureWire(raw, this.secureContext(), events);

  /** A listening address, as those who connect give it. */
  addressOf(listening: NetworkAddress): string {
    const found = parseAddress(foundAt(listening));
    return formatAddress(found.kind === "unix" ? found : { ...found, secure: { pin: this.pin } });
  }

  [Symbol.dispose](): void {
    this.#issued?.[Symbol.dispose]();
  }
}

/** The CA at the end of the chain; without one, the key alone can be pinned. */
function caIn(path: string): Pin | undefined {
  const pems = readFileSync(path, "utf8").match(
    /-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs,
  );
  const last = new X509Certificate(pems!.at(-1)!);
  return last.ca ? { of: "ca", fingerprint: fingerprintOf(last.raw) } : undefined;
}
