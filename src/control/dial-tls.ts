/** A client's TLS connection over TCP. The peer is judged before a byte of ours is sent over it. */
import { isIP } from "node:net";
import { type SecureContext, connect, createSecureContext } from "node:tls";
import { PeerNotTrusted } from "../base/errors.ts";
import { judge } from "../trust/judge.ts";
import { pinnedCa } from "../trust/pinned-ca.ts";
import { meet } from "../trust/remembered-keys.ts";
import { type TcpAddress, formatAddress, isLoopback, placeOf } from "./address.ts";
import type { WireEvents } from "./connection.ts";
import { type Acquaintance, type Dialling, overSocket } from "./dial-socket.ts";
import { chainOf } from "../trust/peer-chain.ts";

/** What must answer at an address. */
export interface Role {
  /** Default: a node. */
  role?: "node" | "manager";
  /** The name of the node, where its manager has told it. */
  name?: string | undefined;
}

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
    secureContext: context(),
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
      meet(placeOf(address), verdict.key, undefined, role);
      // The name of this machine may lead to another one.
      const isHere = isLoopback(host) && isLoopback(socket.remoteAddress ?? "");
      return { by: isHere ? "local" : "memory", key: verdict.key };
    },
  });
}

let shared: SecureContext | undefined;

/** For all connections: one of each connection's own would load the CAs of the Web, which takes milliseconds. */
function context(): SecureContext {
  return (shared ??= createSecureContext({ minVersion: "TLSv1.3", ca: [] }));
}
