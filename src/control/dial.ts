/**
 * A client's connection to an address, whose attempt can be aborted. Over TCP by `node:net`: an attempt of Bun's own socket cannot be
 * aborted, and keeps the program alive for minutes where the network drops its packets. `rfaas://` is TLS.
 */
import { connect } from "node:net";
import { type Address, type TcpAddress, isLoopback } from "./address.ts";
import type { Wire, WireEvents } from "./connection.ts";
import { type Dialling, overSocket } from "./dial-socket.ts";
import type { Role } from "./dial-tls.ts";

export function dial(address: Address, events: WireEvents, to: Role = {}): Dialling {
  if (address.kind === "unix") return dialUnix(address.path, events);
  return isDialledInClear(address) ? dialTcp(address, events) : dialSecurely(address, events, to);
}

/** Whether messages to the address go without TLS. */
export function isDialledInClear({ secure }: TcpAddress): boolean {
  return secure === undefined;
}

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
  return overSocket(connect({ host, port }), host, events, {
    event: "connect",
    meet: () => ({ by: isLoopback(host) ? "local" : "nothing" }),
  });
}

/** What TLS needs is loaded by the first connection that has it. */
function dialSecurely(address: TcpAddress, events: WireEvents, to: Role): Dialling {
  let dialling: Dialling | undefined;
  let aborted = false;
  const begin = async (): Promise<void> => {
    const { dialTls } = await import("./dial-tls.ts");
    if (aborted) throw new Error("the attempt was aborted");
    dialling = dialTls(address, events, to);
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
