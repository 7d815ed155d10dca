/**
 * A client's connection to an address, whose attempt can be aborted. Over TCP by `node:net`: an attempt of Bun's own socket cannot be
 * aborted, and keeps the program alive for minutes where the network drops its packets. What leaves the machine is TLS.
 */
import { connect } from "node:net";
import { PeerNotTrusted } from "../base/errors.ts";
import { reasonOf } from "../base/system-errors.ts";
import { warnOnce } from "../base/warnings.ts";
import { type Address, type TcpAddress, isLoopback, placeOf } from "./address.ts";
import type { Wire, WireEvents } from "./connection.ts";
import { type Dialling, overSocket } from "./dial-socket.ts";
import type { Role } from "./dial-tls.ts";

/** Whom a connection is for. */
export interface Dialled extends Role {
  /** In clear, where the address does not ask for TLS. Default: as `RFAAS_INSECURE` says. */
  insecure?: boolean | undefined;
}

export function dial(address: Address, events: WireEvents, to: Dialled = {}): Dialling {
  if (address.kind === "unix") return dialUnix(address.path, events);
  return isInClear(address, to) ? dialTcp(address, events) : dialSecurely(address, events, to);
}

function isInClear({ secure, host }: TcpAddress, { insecure }: Dialled): boolean {
  return secure === undefined && (isLoopback(host) || (insecure ?? isInsecure()));
}

/** Whether others could read what is said over a connection to the address. */
export const isExposed = (address: Address, to: Dialled): boolean =>
  address.kind !== "unix" && !isLoopback(address.host) && isInClear(address, to);

/** Why an attempt has failed, as a clause. The runtime's sockets say of a machine that cannot be reached that it refuses, too. */
export function whyNotReached(address: Address, cause: unknown): string {
  const { code } = cause as { code?: unknown };
  if (code === "EINVAL" && address.kind !== "unix" && /^fe[89ab][^%]*$/i.test(address.host))
    return "an address of one link needs the name of the interface, as in [fe80::1%eth0]:7700";
  return code === "ECONNREFUSED" && address.kind !== "unix" && !isLoopback(address.host)
    ? "no process listens there, or no way leads there (ECONNREFUSED)"
    : reasonOf(cause);
}

/** What `RFAAS_INSECURE` says. */
const isInsecure = (): boolean => ["1", "true"].includes(process.env["RFAAS_INSECURE"] ?? "");

/** The kernel answers such an attempt at once. */
function dialUnix(path: string, events: WireEvents): Dialling {
  let wire: Wire | undefined;
  let given = false;
  const connected = Bun.connect({
    unix: path,
    socket: {
      binaryType: "uint8array",
      open: (socket) => {
        if (given) {
          socket.terminate();
          return;
        }
        wire = socket;
        events.opened(socket);
      },
      data: (_, bytes) => events.received(bytes),
      drain: () => events.drained(),
      end: () => events.close(),
      close: () => events.close(),
      error: (_, error) => events.close(error),
    },
  });
  return {
    connected: connected.then(() => {}),
    reached: () => undefined,
    acquaintance: () => ({ by: "local" }),
    abort() {
      given = true;
      wire?.terminate();
    },
  };
}

function dialTcp({ host, port }: TcpAddress, events: WireEvents): Dialling {
  if (!isLoopback(host))
    warnOnce(
      `insecure: the connection to ${host} is in clear: other machines of the network can read and change what is said, and may answer in its place; no bearer token is sent over it`,
      "RFAAS_SECURITY",
    );
  const socket = connect({ host, port });
  return overSocket(socket, host, events, {
    event: "connect",
    meet() {
      if (!isLoopback(host)) return { by: "nothing" };
      const { remoteAddress } = socket;
      // It has ended already.
      if (remoteAddress === undefined) return { by: "nothing" };
      if (isLoopback(remoteAddress)) return { by: "local" };
      throw new PeerNotTrusted(
        `${host} leads to ${remoteAddress} here, another machine, so nothing was said to it in clear: name 127.0.0.1 or see to /etc/hosts`,
        { address: placeOf({ kind: "tcp", host, port }), seen: undefined },
      );
    },
  });
}

/** What TLS needs, which the first connection loads that has it. */
let tls: typeof import("./dial-tls.ts") | undefined;

function dialSecurely(address: TcpAddress, events: WireEvents, to: Role): Dialling {
  let dialling: Dialling | undefined;
  let aborted = false;
  const begin = async (): Promise<void> => {
    tls ??= await import("./dial-tls.ts");
    if (aborted) throw new Error("the attempt was aborted");
    dialling = tls.dialTls(address, events, to);
    await dialling.connected;
  };
  return {
    connected: begin(),
    reached: () => dialling?.reached(),
    acquaintance: () => dialling?.acquaintance() ?? { by: "nothing" },
    abort() {
      aborted = true;
      dialling?.abort();
    },
  };
}
