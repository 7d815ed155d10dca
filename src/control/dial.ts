/**
 * A client's connection to an address, whose attempt can be aborted. Over TCP by `node:net`: an attempt of Bun's own socket cannot be
 * aborted, and keeps the program alive for minutes where the network drops its packets.
 */
import { connect } from "node:net";
import type { Address } from "./address.ts";
import type { Wire, WireEvents } from "./connection.ts";

/** TCP keep-alive: the kernel detects a peer whose machine has vanished. */
const KEEP_ALIVE_MS = 10_000;

/** An attempt to connect. */
export interface Dialling {
  /** Resolves once the connection is open; `events` hear of it first. Rejects when the attempt fails. */
  readonly connected: Promise<void>;
  /** What it has reached, once connected, where that is over a network. */
  reached(): { address: string; port: number } | undefined;
  /** Aborts the attempt, or closes the connection that has come of it. */
  abort(): void;
}

export function dial(address: Address, events: WireEvents): Dialling {
  return address.kind === "unix"
    ? dialUnix(address.path, events)
    : dialTcp(address.host, address.port, events);
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
    abort() {
      given = true;
      wire?.terminate();
    },
  };
}

function dialTcp(host: string, port: number, events: WireEvents): Dialling {
  const connected = Promise.withResolvers<void>();
  const socket = connect({ host, port });
  const wire: Wire = {
    // `node:net` queues without a bound, so it gets no more than fits.
    write(bytes) {
      if (socket.writableNeedDrain || !socket.writable) return 0;
      socket.write(bytes);
      return bytes.length;
    },
    end: () => void socket.end(),
    terminate: () => void socket.destroy(),
    ref: () => void socket.ref(),
    unref: () => void socket.unref(),
  };
  let open = false;
  socket.on("connect", () => {
    open = true;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    events.opened(wire);
    connected.resolve();
  });
  socket.on("data", (bytes: Buffer) => events.received(bytes));
  socket.on("drain", () => events.drained());
  socket.on("end", () => events.close());
  socket.on("error", (error) => {
    if (open) events.close(error);
    connected.reject(error);
  });
  socket.on("close", () => {
    if (open) events.close();
    connected.reject(new Error("the attempt was aborted"));
  });
  return {
    connected: connected.promise,
    reached() {
      const { remoteAddress: address, remotePort: port } = socket;
      if (address === undefined || port === undefined) return undefined;
      // The runtime leaves out by which device an address is reached that each network has its own of.
      const [, zone] = host.split("%");
      return { address: zone && !address.includes("%") ? `${address}%${zone}` : address, port };
    },
    abort: () => void socket.destroy(),
  };
}
