/**
 * A server's own key and certificates, in files. When they are replaced, new connections get the new ones: a certificate is renewed
 * without a restart.
 */
import { X509Certificate, createPrivateKey } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { type SecureContext, createSecureContext } from "node:tls";
import { EnvironmentError, UsageError } from "../base/errors.ts";
import { reasonOf } from "../base/system-errors.ts";
import type { Fingerprint } from "./fingerprint.ts";
import { keyOf, whyOutOfDate } from "./judge.ts";

/** Both may be one file. */
export interface CredentialFiles {
  certificate: string;
  key: string;
}

export interface CredentialOptions {
  warn(message: string): void;
  /** By the wall clock, for the dates of certificates. */
  now?: () => number;
}

/** Between two looks at the files. */
const LOOK_INTERVAL_MS = 1000;
const READABLE_BY_OTHERS = 0o004;

interface Read {
  context: SecureContext;
  /** Of the key. */
  fingerprint: Fingerprint;
}

export class FileCredentials {
  readonly #files: CredentialFiles;
  readonly #warn: (message: string) => void;
  readonly #now: () => number;
  #read: Read;
  /** What the files looked like when they were read. */
  #stamp: string;
  /** How files looked that could not be used: they may be replaced one after the other, so the second look complains. */
  #wrong: string | undefined;
  #lookedAtMs: number;

  /**
   * @throws {UsageError} the files are no key and certificate, do not belong together, or are out of date
   * @throws {EnvironmentError} a file cannot be read
   */
  constructor(files: CredentialFiles, { warn, now = Date.now }: CredentialOptions) {
    this.#files = files;
    this.#warn = warn;
    this.#now = now;
    this.#lookedAtMs = now();
    this.#stamp = stampOf(files);
    this.#read = read(files, now());
    if (statSync(files.key).mode & READABLE_BY_OTHERS)
      warn(`every user of this machine can read the key ${files.key}; run: chmod 600 ${files.key}`);
  }

  /** The fingerprint of the key. */
  get fingerprint(): Fingerprint {
    return this.#read.fingerprint;
  }

  /** For a new connection. */
  context(): SecureContext {
    const nowMs = this.#now();
    // The clock may be set back.
    if (Math.abs(nowMs - this.#lookedAtMs) >= LOOK_INTERVAL_MS) {
      this.#lookedAtMs = nowMs;
      this.#look(nowMs);
    }
    return this.#read.context;
  }

  /** Reads the files for the next connection, and throws as the constructor does where they cannot be used; those before stay then. */
  readAgain(): void {
    const stamp = stampOf(this.#files);
    this.#read = read(this.#files, this.#now());
    this.#stamp = stamp;
    this.#wrong = undefined;
  }

  #look(nowMs: number): void {
    const stamp = stampOf(this.#files);
    if (stamp === this.#stamp) return;
    try {
      this.#read = read(this.#files, nowMs);
      this.#stamp = stamp;
      this.#wrong = undefined;
    } catch (error) {
      if (this.#wrong === stamp) {
        this.#stamp = stamp;
        this.#warn(
          `the replaced certificate is not used, and the one before still is: ${(error as Error).message}`,
        );
      }
      this.#wrong = stamp;
    }
  }
}

function read(files: CredentialFiles, nowMs: number): Read {
  const certificate = textOf(files.certificate, "certificate");
  const key = textOf(files.key, "key");
  let leaf: X509Certificate;
  try {
    leaf = new X509Certificate(certificate);
  } catch (cause) {
    throw new UsageError(
      `there is no certificate in ${files.certificate}; name a file in PEM, the server's own first`,
      { cause },
    );
  }
  if (!leaf.checkPrivateKey(privateKeyIn(key, files.key)))
    throw new UsageError(
      `the key in ${files.key} is not that of the certificate in ${files.certificate}; name the two that belong together`,
    );
  const outOfDate = whyOutOfDate(leaf, nowMs);
  if (outOfDate !== undefined)
    throw new UsageError(`${outOfDate}; put another one into ${files.certificate}`);
  return {
    context: createSecureContext({ key, cert: certificate, minVersion: "TLSv1.3" }),
    fingerprint: keyOf(leaf),
  };
}

function privateKeyIn(pem: string, path: string): ReturnType<typeof createPrivateKey> {
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    const locked = pem.includes("ENCRYPTED") ? ", but one with a passphrase" : "";
    throw new UsageError(
      `there is no key in ${path}${locked}; name a file in PEM with a private key in clear`,
      { cause },
    );
  }
}

function textOf(path: string, what: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new EnvironmentError(
      `the ${what} ${path} cannot be read: ${reasonOf(cause)}; let the user that serves read it`,
      { cause },
    );
  }
}

function stampOf({ certificate, key }: CredentialFiles): string {
  return [certificate, key]
    .map((path) => {
      try {
        const { ino, size, mtimeNs } = statSync(path, { bigint: true });
        return `${ino} ${size} ${mtimeNs}`;
      } catch (error) {
        // What is wrong with it is told by who reads it.
        return String((error as NodeJS.ErrnoException).code);
      }
    })
    .join("; ");
}
