/** Where a node listens for clients: a Unix socket that only its owner may open, or a TCP port. */
import { acceptSpoken, peekBytes } from "../../../ffi/system.ts";
import { chmodSync, existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { Socket, SocketHandler, TCPSocketListener } from "bun";
import { type Address, formatAddress, isLoopback } from "../../control/address.ts";
import type { Connection, Wire, WireEvents } from "../../control/connection.ts";
import { TELLING_BYTES, beginsTls } from "../../control/accept/first-bytes.ts";
import type { SecureSocket } from "../../control/accept/secure-socket.ts";
import type { SecureWire } from "../../control/accept/secure-wire.ts";
import { AddressInUse, EnvironmentError } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";
import { portInUse, whyNotListening } from "../../control/port-holder.ts";
import { isOwnUser } from "../../control/local-peer.ts";
import type { Greeting } from "../../fabric/fabric.ts";
import { greetings } from "../../fabric/registry.ts";
import type { OwnEnd } from "../../protocol/holder/proof.ts";
import type { ClientMessage, NodeMessage } from "../../protocol/messages.ts";
import { sortArrival } from "./greetings.ts";
import { ownEnd } from "./own-end.ts";

/** TCP keep-alive: the kernel detects a peer whose machine has vanished. */
const KEEP_ALIVE_MS = 10_000;

const TLS_REQUIRED: NodeMessage = {
  t: "refused",
  code: "RFAAS_TLS_REQUIRED",
  message:
    "from other machines it takes control connections by TLS alone; connect without --insecure or, on a network that you trust, serve with --insecure, too",
};

/** A fatal alert of TLS, `handshake_failure`: the node has no certificate. */
const NO_TLS = Uint8Array.of(0x15, 3, 3, 0, 2, 2, 40);

type ClientConnection = Connection<ClientMessage, NodeMessage>;

export interface Listener {
  /** As a client would name it. */
  address: string;
  /** Accepts no more and removes the socket file. */
  stop(): void;
}

/** How a client came. */
export interface Way {
  /** Our address that the client connected to, over TCP. */
  reachedAt: string | undefined;
  /** Only the node's own user can have connected this way. */
  trusted: boolean;
  /** The client's address, over TCP. */
  comesFrom: string | undefined;
  /** Whether other machines can read what it says; known once it has said something. */
  isExposed(): boolean;
  /** This end of the connection; known once the client has said something. */
  end(): OwnEnd;
}

/** How a listener protects what clients of other machines say. */
export interface Security {
  /** TLS over an accepted connection; without it the node takes none. */
  accept?: ((raw: Wire, events: WireEvents) => SecureWire) | undefined;
  /** The same, sooner done, where nothing of the connection has been read. */
  acceptUnread?: ((raw: Socket<undefined>, events: WireEvents) => SecureSocket) | undefined;
  /** The fingerprint of the key that a connection is met with which is taken now. */
  key?: (() => string) | undefined;
  /** Other nodes may have that key, too. */
  sharesKey?: boolean | undefined;
  /** Other machines may speak in clear. */
  insecure: boolean;
  /** Addresses by which clients may know the node, beside those that the kernel knows. */
  knownAs?: readonly string[] | undefined;
}

/** Takes a connection for data over, if the node knows the lease; the descriptor stays the caller's. Returns whether it does. */
export type Bring = (name: Uint8Array, descriptor: number, greeting: Uint8Array) => boolean;

/** The answer to a manager's question whether this is the node that it knows; undefined when it is not. */
export type AnswerTo = (question: Uint8Array) => Uint8Array | undefined;

/** A connection whose first bytes have not all come is undecided. */
interface Guest {
  connection: ClientConnection;
  first: Uint8Array | undefined;
  /** Where it is TLS, which its first bytes have told. */
  secure: SecureWire | undefined;
  key: string | null;
}

/** Listens at `address`. Throws {@link AddressInUse} when another node does, {@link EnvironmentError} when it cannot be done. */
export async function listen(
  address: Address,
  accept: (way: Way) => ClientConnection,
  bring: Bring,
  security: Security = { insecure: false },
  answerTo: AnswerTo = () => undefined,
): Promise<Listener> {
  const guests = new WeakMap<Socket<undefined>, Guest>();
  const ended = (peer: Socket<undefined>, error?: Error): void => {
    const guest = guests.get(peer);
    if (guest?.secure) guest.secure.ended();
    else guest?.connection.close(error);
  };
  const socket: SocketHandler<undefined> = {
    binaryType: "uint8array",
    open(peer) {
      const tcp = address.kind === "tcp";
      const local = { address: peer.localAddress, port: peer.localPort };
      const connection = accept({
        reachedAt: tcp ? plainAddress(peer) : undefined,
        trusted: isOwnUser(descriptorOf(peer)),
        comesFrom: tcp ? peer.remoteAddress : undefined,
        isExposed: () => tcp && !tls && !guest.secure && !isLoopback(peer.remoteAddress),
        end: () => ownEnd(address, local, tls ? keyThen : guest.key, security),
      });
      if (tcp) peer.setKeepAlive(true, KEEP_ALIVE_MS);
      const tls = tcp ? takeTls(peer, connection, security) : undefined;
      const keyThen = (tls && security.key?.()) ?? null;
      if (tls) return connection.opened(tls);
      const guest: Guest = {
        connection,
        first: tcp ? new Uint8Array(0) : undefined,
        secure: undefined,
        key: null,
      };
      guests.set(peer, guest);
      connection.opened(peer);
    },
    data(peer, bytes) {
      const guest = guests.get(peer);
      if (!guest) return;
      const { connection } = guest;
      if (guest.first === undefined) return (guest.secure ?? connection).received(bytes);
      const come = Buffer.concat([guest.first, bytes]);
      const arrival = sortArrival(come, greetings);
      guest.first = arrival.kind === "unknown" ? come : undefined;
      if (arrival.kind === "unknown") return;
      if (arrival.kind === "tls" && security.accept) {
        guest.secure = security.accept(peer, connection);
        guest.key = security.key?.() ?? null;
        connection.opened(guest.secure);
        return guest.secure.received(come);
      }
      if (arrival.kind === "control") {
        if (security.insecure || isLoopback(peer.remoteAddress)) return connection.received(come);
        connection.send(TLS_REQUIRED);
        return connection.close();
      }
      guests.delete(peer);
      connection.abandon();
      if (arrival.kind === "look") return void peer.end(answerTo(arrival.question));
      if (arrival.kind === "tls") {
        peer.write(NO_TLS);
        peer.end();
      } else if (arrival.kind === "data" && !handOver(peer, arrival.greeting, come, bring)) {
        peer.write(arrival.greeting.refusal);
        peer.end();
      } else peer.terminate();
    },
    drain(peer) {
      const guest = guests.get(peer);
      (guest?.secure ?? guest?.connection)?.drained();
    },
    end: (peer) => ended(peer),
    close: (peer) => ended(peer),
    error: ended,
  };
  if (address.kind === "tcp") return listenTcp(address, socket);
  return await listenUnix(address.path, socket);
}

/** TLS over a connection that has just been accepted, where what waits there begins so. What is told in pieces is looked at as it comes. */
function takeTls(
  peer: Socket<undefined>,
  events: WireEvents,
  { acceptUnread }: Security,
): SecureSocket | undefined {
  if (!acceptUnread || !beginsTls(peekBytes(descriptorOf(peer), TELLING_BYTES))) return undefined;
  return acceptUnread(peer, events);
}

/** Whether the node knows the lease of the greeting, whose host has the connection then. */
export function handOver(
  peer: Socket<undefined>,
  { nameOf }: Greeting,
  greeting: Uint8Array,
  bring: Bring,
): boolean {
  return bring(nameOf(greeting), descriptorOf(peer), greeting);
}

/** Our address that the peer connected to, IPv4 in its plain form. */
function plainAddress(peer: Socket<undefined>): string {
  return peer.localAddress.replace(/^::ffff:(?=\d+\.)/, "");
}

/** Bun has it, and does not declare it. */
function descriptorOf(socket: Socket<undefined> | TCPSocketListener<undefined>): number {
  return (socket as unknown as { fd: number }).fd;
}

/** `option` is the one that has chosen the port. */
export function listenTcp(
  address: Address & { kind: "tcp" },
  socket: SocketHandler<undefined>,
  option = "--listen",
): Listener {
  try {
    const listener = Bun.listen({ hostname: address.host, port: address.port, socket });
    // Every client speaks first; what it has said tells how it is taken.
    acceptSpoken(descriptorOf(listener));
    return {
      address: formatAddress({ ...address, port: listener.port }),
      stop: () => listener.stop(),
    };
  } catch (cause) {
    const code = (cause as { code?: string }).code;
    if (code === "EADDRINUSE")
      throw new AddressInUse(portInUse(formatAddress(address), address.port, option), {
        cause,
      });
    throw new EnvironmentError(
      `cannot listen on ${formatAddress(address)}: ${whyNotListening(cause, address.host)}; choose another ${option}`,
      { cause },
    );
  }
}

async function listenUnix(path: string, socket: SocketHandler<undefined>): Promise<Listener> {
  if (Buffer.byteLength(path) > 107)
    throw new EnvironmentError(
      `the socket path ${path} is longer than 107 bytes; choose a shorter --listen`,
    );
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    requireSafeFolder(dirname(path));
    if (existsSync(path)) await removeStaleSocket(path);
    const umask = process.umask(0o177);
    try {
      const listener = Bun.listen({ unix: path, socket });
      chmodSync(path, 0o600);
      const { ino } = statSync(path);
      return {
        address: path,
        stop: () => {
          listener.stop();
          // Another node may have taken the place since.
          if (statSync(path, { throwIfNoEntry: false })?.ino === ino) rmSync(path, { force: true });
        },
      };
    } finally {
      process.umask(umask);
    }
  } catch (cause) {
    if (cause instanceof AddressInUse || cause instanceof EnvironmentError) throw cause;
    throw new EnvironmentError(
      `cannot listen on ${path}: ${reasonOf(cause)}; choose another --listen`,
      { cause },
    );
  }
}

/** In a folder that others may write to, they could put another socket in the place of ours. */
function requireSafeFolder(folder: string): void {
  const { uid, mode } = statSync(folder);
  const foreign = uid !== process.getuid?.() && uid !== 0;
  const open = (mode & 0o022) !== 0 && (mode & 0o1000) === 0;
  if (foreign || open)
    throw new EnvironmentError(
      `other users can change the folder ${folder}; choose another --listen, or: chmod go-w ${folder}`,
    );
}

/** A killed node leaves its socket file behind: nothing listens on it, so the new node may remove it. */
async function removeStaleSocket(path: string): Promise<void> {
  if (!statSync(path).isSocket())
    throw new EnvironmentError(`${path} exists and is not a socket; choose another --listen`);
  try {
    const probe = await Bun.connect({ unix: path, socket: { data() {} } });
    probe.end();
  } catch {
    rmSync(path, { force: true });
    return;
  }
  throw new AddressInUse(
    `a node already serves at ${path}; use it, stop it, or choose another --listen`,
  );
}
