/** `RFAAS_CA`: whom a user trusts at every address that names no other. */
import { readFileSync } from "node:fs";
import { EnvironmentError, UsageError } from "../base/errors.ts";
import { reasonOf } from "../base/system-errors.ts";
import { type Pin, fingerprintOf, readFingerprint } from "./fingerprint.ts";

const CERTIFICATE = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/;

/**
 * `$RFAAS_CA` is the fingerprint of a CA, `sha256:HEX`, or the path of its certificate in PEM; undefined when it is not set.
 *
 * @throws {UsageError} it is neither
 * @throws {EnvironmentError} the file cannot be read
 */
export function pinnedCa(text = process.env["RFAAS_CA"]): Pin | undefined {
  if (!text) return undefined;
  return { of: "ca", fingerprint: readFingerprint(text) ?? fingerprintOf(certificateIn(text)) };
}

function certificateIn(path: string): Uint8Array {
  const usage = "set RFAAS_CA to sha256:HEX or to the path of a certificate in PEM";
  if (/^sha-?256[:=]/i.test(path))
    throw new UsageError(
      `RFAAS_CA is no fingerprint: "${path}"; 64 hexadecimal digits follow sha256:`,
    );
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new EnvironmentError(`RFAAS_CA: ${path} cannot be read: ${reasonOf(cause)}; ${usage}`, {
      cause,
    });
  }
  const [, base64] = CERTIFICATE.exec(text) ?? [];
  if (base64 === undefined)
    throw new UsageError(`RFAAS_CA: there is no certificate in ${path}; ${usage}`);
  return Buffer.from(base64, "base64");
}
