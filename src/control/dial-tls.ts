/** A client's TLS connection over TCP. The peer is judged before a byte of ours is sent over it. */
import { isIP } from "node:net";
import { type DetailedPeerCertificate, type TLSSocket, connect } from "node:tls";
import { PeerNotTrusted } from "../base/errors.ts";
import { judge } from "../trust/judge.ts";
import { pinnedCa } from "../trust/pinned-ca.ts";
import { meet } from "../trust/remembered-keys.ts";
import { type TcpAddress, formatAddress, isLoopback, placeOf } from "./address.ts";
import type { WireEvents } from "./connection.ts";
import { type Acquaintance, type Dialling, overSocket } from "./dial-socket.ts";

/** What must answer at an address. */
export interface Role {
  /** Default: a node. */
  role?: "node" | "manager";
  /** The name of the node, where its manager has told it. */
  name?: string | undefined;
}

const MAX_CHAIN = 16;

/**
 * Connects to the address, whatever it says of TLS.
 *
 * It rejects with {@link PeerNotTrusted} and `KeyChanged`; throws `UsageError` and `EnvironmentError` as {@link pinnedCa} does.
 */
export function dialTls(
  address: TcpAddress,
  events: WireEvents,
  { role = "node", name }: Role,
): Dialling {
  const { host, port } = address;
  const pin = address.secure?.pin ?? pinnedCa();
  const socket = connect({
    host,
    port,
    minVersion: "TLSv1.3",
    // An address is no name to ask for.
    ...(isIP(host.split("%")[0]!) === 0 ? { servername: host } : {}),
    // What the runtime makes of the certificate does not count: `judge` knows whom we trust.
    rejectUnauthorized: false,
  });
  return overSocket(socket, host, events, {
    event: "secureConnect",
    meet(): Acquaintance {
      const verdict = judge(chainOf(socket), { role, name, host, pin });
      if (verdict.kind === "trusted") return { by: "pin", key: verdict.key };
      const shown = formatAddress(address);
      if (verdict.kind === "wrong")
        throw new PeerNotTrusted(
          `what answers at ${shown} is not the ${role} that is pinned: ${verdict.reason}; nothing was sent to it: check the address and the fingerprint, and ask who runs that machine`,
          { address: shown, seen: verdict.key },
        );
      meet(placeOf(address), verdict.key);
      return isLoopback(host) ? { by: "local" } : { by: "memory", key: verdict.key };
    },
  });
}

/** In DER, the peer's own certificate first; each but the last was, as it says, issued by the next. */
function chainOf(socket: TLSSocket): Uint8Array[] {
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
