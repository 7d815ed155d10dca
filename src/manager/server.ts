/** The manager's port: a {@link Manager} whose peers come over TCP. */
import type { Socket, SocketHandler, TCPSocketListener } from "bun";
import { formatAddress } from "../control/address.ts";
import { reach } from "../control/reach/reach.ts";
import { listenAt } from "./listener.ts";
import { Manager, type ManagerOptions } from "./manager.ts";

/** The kernel notices within seconds that a peer's machine has vanished. */
const KEEP_ALIVE_MS = 10_000;

export class ManagerServer extends Manager {
  /** As a node or client would name it. */
  readonly address: string;
  readonly #listener: TCPSocketListener<undefined>;

  /** Listens at `address`, HOST:PORT. Throws as {@link listenAt} does. */
  constructor(address: string, options: ManagerOptions) {
    super({ reach, ...options });
    try {
      this.#listener = listenAt(address, this.#handler());
    } catch (error) {
      super.close();
      throw error;
    }
    const { hostname, port } = this.#listener;
    this.address = formatAddress({ kind: "tcp", host: hostname, port });
  }

  /** Accepts no more, saves what has come, and closes all connections. */
  override close(): void {
    this.#listener.stop();
    super.close();
  }

  #handler(): SocketHandler<undefined> {
    type Connected = ReturnType<Manager["connect"]>;
    const peers = new WeakMap<Socket<undefined>, Connected>();
    const close = (socket: Socket<undefined>, error?: Error) => peers.get(socket)?.close(error);
    return {
      binaryType: "uint8array",
      open: (socket) => {
        const way = { reachedAt: localAddress(socket), comesFrom: socket.remoteAddress };
        const peer = this.connect(socket, way);
        if (!peer) {
          socket.terminate();
          return;
        }
        peers.set(socket, peer);
        socket.setKeepAlive(true, KEEP_ALIVE_MS);
        socket.setNoDelay(true);
      },
      data: (socket, bytes) => peers.get(socket)?.received(bytes),
      drain: (socket) => peers.get(socket)?.drained(),
      end: (socket) => close(socket),
      close: (socket) => close(socket),
      error: close,
    };
  }
}

/** Without the form that IPv4 has on a socket of both families. */
function localAddress({ localAddress: address }: Socket<undefined>): string {
  return address.replace(/^::ffff:(?=\d+\.)/, "");
}
