/** What tests of TLS need: a key and certificates of this process's own, in DER where they are judged. */
import { X509Certificate } from "node:crypto";
import { type Credentials, selfSigned } from "../../src/trust/certificates.ts";
import type { Fingerprint } from "../../src/trust/fingerprint.ts";
import { keyOf, nodeUri } from "../../src/trust/judge.ts";

const DAY_MS = 24 * 60 * 60 * 1000;

/** A node's own, as it makes it at its first start, and the fingerprint of its key. */
export async function nodeCredentials(
  name = "node",
): Promise<Credentials & { fingerprint: Fingerprint }> {
  const own = await selfSigned({ commonName: name, uri: nodeUri(name), validMs: DAY_MS });
  return { ...own, fingerprint: keyOf(new X509Certificate(own.chain)) };
}
