/** An attempt to connect over a socket of Node's, plain or TLS, and the connection that comes of it. */
import type { Socket } from "node:net";
import type { Fingerprint } from "../trust/fingerprint.ts";
import type { Wire, WireEvents } from "./connection.ts";

/** TCP keep-alive: the kernel detects a peer whose machine has vanished. */
const KEEP_ALIVE_MS = 10_000;

/** A peer over a network, as the kernel knows it. */
export interface Reached {
  address: string;
  port: number;
}

/** An attempt to connect. */
export interface Dialling {
  /** Resolves once the connection is open; `events` hear of it first. Rejects when the attempt fails. */
  readonly connected: Promise<void>;
  /** What it has reached, once connected, where that is over a network. */
  reached(): Reached | undefined;
  /** How the peer is known, once connected. */
  acquaintance(): Acquaintance;
  /** Aborts the attempt, or closes the connection that has come of it. */
  abort(): void;
}

/**
 * Why a peer is taken for the one that is meant: it is on this machine, it has the pinned key or a certificate of the pinned CA, it has
 * the key that was met there before, or there is no reason. Secrets are for the first two.
 */
export type Acquaintance =
  /** `key` where it is TLS. */
  { by: "local" | "nothing"; key?: Fingerprint } | { by: "pin" | "memory"; key: Fingerprint };

/** Whether a secret may be told to the peer. */
export const mayBeTold = ({ by }: Acquaintance): boolean => by === "local" || by === "pin";

/** Why a peer is told no secrets, as a clause; undefined when it may be. `place` is its `HOST:PORT`. */
export function whyWithheld(
  known: Acquaintance,
  what: "node" | "manager",
  place: string,
): string | undefined {
  if (mayBeTold(known)) return undefined;
  return known.by === "memory"
    ? `no token was sent, as the ${what}'s key ${known.key} is pinned nowhere; ask who runs the ${what} whether it is its key, then name it as rfaas://${place}?key=${known.key}`
    : `no token was sent, as the connection is in clear; let the ${what} serve without --insecure, and connect without it`;
}

/** When a socket is open for messages: on an event, once the peer has been looked at. `meet` throws where that must not be. */
interface Opening {
  event: "connect" | "secureConnect";
  meet(): Acquaintance;
}

/** The connection of a socket that has begun to connect to `host`. */
export function overSocket(
  socket: Socket,
  host: string,
  events: WireEvents,
  { event, meet }: Opening,
): Dialling {
  const connected = Promise.withResolvers<void>();
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
  let acquaintance: Acquaintance = { by: "nothing" };
  let open = false;
  socket.on(event, () => {
    try {
      acquaintance = meet();
    } catch (error) {
      connected.reject(error);
      socket.destroy();
      return;
    }
    open = true;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    events.opened(wire);
    connected.resolve();
  });
  // What comes before the peer is judged is no message of ours.
  socket.on("data", (bytes: Buffer) => {
    if (open) events.received(bytes);
  });
  socket.on("drain", () => events.drained());
  socket.on("end", () => {
    if (open) events.close();
  });
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
    acquaintance: () => acquaintance,
    abort: () => void socket.destroy(),
  };
}
