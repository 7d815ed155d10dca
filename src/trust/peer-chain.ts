/** The certificates that the peer of a TLS connection has shown. */
import type { DetailedPeerCertificate, TLSSocket } from "node:tls";

const MAX_CHAIN = 16;

/** In DER, the peer's own certificate first; each but the last was, as it says, issued by the next. */
export function chainOf(socket: TLSSocket): Uint8Array[] {
  const chain: Uint8Array[] = [];
  const seen = new Set<string>();
  let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  // The last one names itself as its issuer; a peer without a certificate has an object without properties.
  while (next?.raw && !seen.has(next.fingerprint256) && chain.length < MAX_CHAIN) {
    seen.add(next.fingerprint256);
    chain.push(next.raw);
    next = next.issuerCertificate;
  }
  return chain;
}
