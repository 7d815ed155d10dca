/**
 * Makes keys and certificates. Bun makes none, so `@peculiar/x509` does; it takes 70 ms to load, and is loaded when one is made. All keys
 * are ECDSA's over P-256.
 */
import { X509Certificate, createPublicKey } from "node:crypto";
import { isIP } from "node:net";
import { type Fingerprint, fingerprintOf } from "./fingerprint.ts";

/** A private key and the certificates for it, its own first, in PEM. */
export interface Credentials {
  key: string;
  chain: string;
}

/** Whom a certificate is for, and until when. */
export interface Subject {
  /** Its common name, for people who look at it. */
  commonName: string;
  /** {@link MANAGER_URI} or {@link nodeUri}. */
  uri: string;
  /** Host names and addresses, for clients that know no more, as curl. */
  hosts?: readonly string[];
  validMs: number;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const SERIAL_BYTES = 16;
/** The clocks of two machines differ, by the time zone where one takes local time for UTC. */
const BACKDATED_MS = 24 * 60 * 60 * 1000;

type Library = typeof import("@peculiar/x509");

async function library(): Promise<Library> {
  // The library's own way of finding its parts needs it first.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  x509.cryptoProvider.set(crypto);
  return x509;
}

/** A key with a certificate that it has signed itself. */
export async function selfSigned(subject: Subject, nowMs = Date.now()): Promise<Credentials> {
  const x509 = await library();
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...common(keys.publicKey, subject.validMs, nowMs),
    name: nameOf(subject.commonName),
    keys,
    extensions: await serverExtensions(x509, subject, keys.publicKey, keys.publicKey),
  });
  return { key: await pemOf(x509, keys.privateKey), chain: certificate.toString("pem") };
}

/** A key that may sign the certificates of servers, and nothing else. */
export async function certificateAuthority(
  { commonName, validMs }: Pick<Subject, "commonName" | "validMs">,
  nowMs = Date.now(),
): Promise<Credentials> {
  const x509 = await library();
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...common(keys.publicKey, validMs, nowMs),
    name: nameOf(commonName),
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { key: await pemOf(x509, keys.privateKey), chain: certificate.toString("pem") };
}

/** A key, the `present` one or else a new one, and the request by which its owner shows a CA that it has it, both in PEM. */
export async function signingRequest(
  commonName: string,
  present?: string,
): Promise<{ key: string; request: string }> {
  const x509 = await library();
  const keys = present === undefined ? await newKeys() : await keysOf(x509, present);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: nameOf(commonName),
    keys,
    signingAlgorithm: ALGORITHM,
  });
  return { key: await pemOf(x509, keys.privateKey), request: request.toString("pem") };
}

/**
 * The chain for the key of a request, signed by the CA whose certificate comes last in it. What the request says of its owner is not
 * looked at: `subject` says it.
 *
 * @throws {TypeError} the request is damaged, or of another kind, or not signed by its own key
 */
export async function issue(
  ca: Credentials,
  request: string,
  subject: Subject,
  nowMs = Date.now(),
): Promise<string> {
  const x509 = await library();
  const asked = await readRequest(x509, request);
  const publicKey = await asked.publicKey.export();
  const authority = new x509.X509Certificate(ca.chain);
  const certificate = await x509.X509CertificateGenerator.create({
    ...common(publicKey, subject.validMs, nowMs),
    subject: nameOf(subject.commonName),
    issuer: authority.subject,
    signingKey: await privateKeyOf(x509, ca.key),
    extensions: await serverExtensions(
      x509,
      subject,
      publicKey,
      await authority.publicKey.export(),
    ),
  });
  return `${certificate.toString("pem")}\n${ca.chain}`;
}

/** The key that a request is for, whose owner has signed it. Rejects as {@link issue} does. */
export async function requestedKey(request: string): Promise<Fingerprint> {
  const { publicKey } = await readRequest(await library(), request);
  return fingerprintOf(new Uint8Array(publicKey.rawData));
}

/** Until when, by the wall clock, the first certificate of a chain is valid, and since when. */
export function validityOf(chain: string): { fromMs: number; untilMs: number } {
  const { validFrom, validTo } = new X509Certificate(chain);
  return { fromMs: Date.parse(validFrom), untilMs: Date.parse(validTo) };
}

async function readRequest(x509: Library, request: string) {
  const asked = parseRequest(x509, request);
  if (await asked.verify().catch(() => false)) return asked;
  throw new TypeError("the request is not signed by the key that it is for");
}

function parseRequest(x509: Library, request: string) {
  try {
    return new x509.Pkcs10CertificateRequest(request);
  } catch (cause) {
    throw new TypeError("it is no certificate signing request", { cause });
  }
}

async function newKeys(): Promise<CryptoKeyPair> {
  return await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

function common(publicKey: CryptoKey, validMs: number, nowMs: number) {
  return {
    serialNumber: serialNumber(),
    notBefore: new Date(nowMs - BACKDATED_MS),
    notAfter: new Date(nowMs + validMs),
    signingAlgorithm: ALGORITHM,
    publicKey,
  };
}

async function serverExtensions(
  x509: Library,
  { uri, hosts = [] }: Subject,
  publicKey: CryptoKey,
  issuerKey: CryptoKey,
) {
  return [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
    new x509.SubjectAlternativeNameExtension([
      { type: "url", value: uri },
      ...hosts.map((host) => ({ type: isIP(host) === 0 ? "dns" : "ip", value: host }) as const),
    ]),
    await x509.SubjectKeyIdentifierExtension.create(publicKey),
    await x509.AuthorityKeyIdentifierExtension.create(issuerKey),
  ];
}

/** A name may have characters that mean something in a distinguished name. */
function nameOf(commonName: string): { CN: string[] }[] {
  return [{ CN: [commonName] }];
}

/** Positive, as it must be. */
function serialNumber(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(SERIAL_BYTES));
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toHex();
}

async function pemOf(x509: Library, key: CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY");
}

async function keysOf(x509: Library, pem: string): Promise<CryptoKeyPair> {
  const publicDer = createPublicKey(pem).export({ type: "spki", format: "der" });
  const privateDer = x509.PemConverter.decodeFirst(pem);
  return {
    publicKey: await crypto.subtle.importKey("spki", publicDer, ALGORITHM, true, ["verify"]),
    privateKey: await crypto.subtle.importKey("pkcs8", privateDer, ALGORITHM, true, ["sign"]),
  };
}

async function privateKeyOf(x509: Library, pem: string): Promise<CryptoKey> {
  const der = x509.PemConverter.decodeFirst(pem);
  return await crypto.subtle.importKey("pkcs8", der, ALGORITHM, false, ["sign"]);
}
