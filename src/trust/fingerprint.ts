/** Fingerprints: SHA-256 of a key or of a certificate, by which people name whom they trust. */

/** `sha256:` and 64 hexadecimal digits in lower case. */
export type Fingerprint = `sha256:${string}`;

/**
 * Whom an address trusts: the owner of one key (`key`, SHA-256 of the SubjectPublicKeyInfo in DER), or every certificate that a CA has
 * signed (`ca`, SHA-256 of the CA's certificate in DER, as `openssl x509 -fingerprint -sha256` prints it).
 */
export interface Pin {
  readonly of: "key" | "ca";
  readonly fingerprint: Fingerprint;
}

const SCHEME = "sha256:";
const HEX_DIGITS = 64;

/** Of a key or a certificate in DER. */
export function fingerprintOf(der: Uint8Array): Fingerprint {
  return `sha256:${new Bun.CryptoHasher("sha256").update(der).digest("hex")}`;
}

/** Reads `sha256:HEX`, with or without colons between the digits, in upper or lower case; undefined where it is something else. */
export function readFingerprint(text: string): Fingerprint | undefined {
  const lower = text.toLowerCase();
  if (!lower.startsWith(SCHEME)) return undefined;
  const digits = lower.slice(SCHEME.length);
  const pairs = digits.includes(":") ? digits.split(":") : (digits.match(/../g) ?? []);
  const hex = pairs.every((pair) => /^[0-9a-f]{2}$/.test(pair)) ? pairs.join("") : "";
  return hex.length === HEX_DIGITS && hex.length === digits.replaceAll(":", "").length
    ? `sha256:${hex}`
    : undefined;
}
