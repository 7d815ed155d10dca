/** The manager's port: a {@link Manager} whose peers come over TCP, from other machines by TLS. */
import type { Socket, SocketHandler, TCPSocketListener } from "bun";
import { type Address, formatAddress, isLoopback } from "../control/address.ts";
import { beginsTls } from "../control/accept/first-bytes.ts";
import type { Wire, WireEvents } from "../control/connection.ts";
import type { SecureWire } from "../control/accept/secure-wire.ts";
import { endPlace } from "../control/identity/ends.ts";
import { reach } from "../control/reach/reach.ts";
import type { OwnEnd } from "../protocol/holder/proof.ts";
import { listenAt } from "./listener.ts";
import { Manager, type ManagerOptions } from "./manager.ts";
import type { Way } from "./peers/peer.ts";
import type { KnownEnd } from "./tokens/known-end.ts";

/** The kernel notices within seconds that a peer's machine has vanished. */
const KEEP_ALIVE_MS = 10_000;
const PLAIN_REFUSED =
  "this manager speaks TLS with other machines; give its address as rfaas://HOST:PORT?ca=sha256:.., as its log says it, and leave --insecure out";

export interface ManagerServerOptions extends ManagerOptions {
  /** TLS over a connection that comes. Left out, there is none, and all that comes is in clear. */
  accept?: Accept | undefined;
  /** How proofs of peers that come by TLS name this end. */
  known?: KnownEnd | undefined;
}

/** The accepting end of TLS over a wire. */
export type Accept = (raw: Wire, events: WireEvents) => SecureWire;

interface Guest {
  readonly way: Way;
  readonly peer: NonNullable<ReturnType<Manager["connect"]>>;
  /** Until they tell whether it is TLS. */
  first: Uint8Array | undefined;
  secure: SecureWire | undefined;
}

export class ManagerServer extends Manager {
  /** As a node or client would name it. */
  readonly address: string;
  readonly #listener: TCPSocketListener<undefined>;
  readonly #accept: Accept | undefined;
  readonly #known: KnownEnd | undefined;

  /** Listens at `address`, HOST:PORT. Throws as {@link listenAt} does. */
  constructor(address: string, { accept, known, ...options }: ManagerServerOptions) {
    super({ reach, ...options });
    this.#accept = accept;
    this.#known = known;
    try {
      this.#listener = listenAt(address, this.#handler());
    } catch (error) {
      super.close();
      throw error;
    }
    const { hostname, port } = this.#listener;
    this.address = formatAddress({ kind: "tcp", host: hostname, port } satisfies Address);
  }

  /** Accepts no more, saves what has come, and closes all connections. */
  override close(): void {
    this.#listener.stop();
    super.close();
  }

  #handler(): SocketHandler<undefined> {
    const guests = new WeakMap<Socket<undefined>, Guest>();
    const close = (socket: Socket<undefined>, error?: Error): void => {
      const guest = guests.get(socket);
      if (guest?.secure) guest.secure.ended();
      else guest?.peer.close(error);
    };
    return {
      binaryType: "uint8array",
      open: (socket) => {
        const way: Way = { reachedAt: localAddress(socket), comesFrom: socket.remoteAddress };
        const peer = this.connect(socket, way);
        if (!peer) {
          socket.terminate();
          return;
        }
        guests.set(socket, { way, peer, first: new Uint8Array(0), secure: undefined });
        socket.setKeepAlive(true, KEEP_ALIVE_MS);
        socket.setNoDelay(true);
      },
      data: (socket, bytes) => {
        const guest = guests.get(socket);
        if (!guest) return;
        if (guest.first === undefined) return (guest.secure ?? guest.peer).received(bytes);
        const come = Buffer.concat([guest.first, bytes]);
        const isTls = beginsTls(come);
        guest.first = isTls === undefined ? come : undefined;
        if (isTls === undefined) return;
        const accept = isTls ? this.#accept : undefined;
        if (accept) guest.secure = secured(accept, socket, guest);
        else this.#isPlain(guest);
        guest.way.end = this.#endOf(socket, accept !== undefined);
        (guest.secure ?? guest.peer).received(come);
      },
      drain: (socket) => {
        const guest = guests.get(socket);
        (guest?.secure ?? guest?.peer)?.drained();
      },
      end: (socket) => close(socket),
      close: (socket) => close(socket),
      error: close,
    };
  }

  #endOf({ localAddress, localPort }: Socket<undefined>, isTls: boolean): OwnEnd {
    const seen = endPlace({ address: localAddress, port: localPort });
    const known = isTls ? this.#known : undefined;
    if (!known) return { places: [seen], key: null };
    return { places: [seen, ...known.places], key: known.key(), sharesKey: known.sharesKey };
  }

  #isPlain({ way }: Guest): void {
    way.overheard = !isLoopback(way.comesFrom);
    if (this.#accept && way.overheard) way.refused = PLAIN_REFUSED;
  }
}

function secured(accept: Accept, raw: Wire, { way, peer }: Guest): SecureWire {
  return accept(raw, {
    opened: (wire) => {
      way.secure = true;
      peer.opened(wire);
    },
    received: (bytes) => peer.received(bytes),
    drained: () => peer.drained(),
    close: (error) => peer.close(error),
  });
}

/** Without the form that IPv4 has on a socket of both families. */
function localAddress({ localAddress: address }: Socket<undefined>): string {
  return address.replace(/^::ffff:(?=\d+\.)/, "");
}
