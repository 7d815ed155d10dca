/** A port of its own for the data of leases, beside the node's: what clients of fabrics with a greeting bring comes there. */
import type { Socket, SocketHandler } from "bun";
import { Connection } from "../../control/connection.ts";
import type { SecureWire } from "../../control/accept/secure-wire.ts";
import { Ungreeted } from "../../control/ungreeted.ts";
import { greetings } from "../../fabric/registry.ts";
import { type ClientMessage, type NodeMessage, clientVocabulary } from "../../protocol/messages.ts";
import { sortArrival } from "./greetings.ts";
import {
  type AnswerTo,
  type Bring,
  type Listener,
  type Security,
  handOver,
  listenTcp,
} from "./listen.ts";

/** A client greets at once. */
const GREETING_LIMIT_MS = 5_000;
const UNGREETED = { perPeer: 512, total: 1_024 };

export interface DataPort {
  host: string;
  port: number;
  /** The node's own port. */
  controlPort: number;
  bring: Bring;
  security: Security;
  answerTo: AnswerTo;
}

interface Guest {
  first: Uint8Array;
  overdue: ReturnType<typeof setTimeout>;
  /** One that came to the wrong port, which is told so. */
  lost: { connection: ClientConnection; secure: SecureWire | undefined } | undefined;
}

type ClientConnection = Connection<ClientMessage, NodeMessage>;

/** Listens for data. Throws {@link AddressInUse} when another process does, {@link EnvironmentError} when it cannot be done. */
export function listenForData(to: DataPort): Listener {
  const { host, port, bring, security, answerTo } = to;
  const guests = new WeakMap<Socket<undefined>, Guest>();
  const ungreeted = new Ungreeted<Socket<undefined>>(UNGREETED);
  const over = (peer: Socket<undefined>, error?: Error): void => {
    const guest = guests.get(peer);
    if (!guest) return;
    settle(peer, guest);
    guests.delete(peer);
    if (guest.lost?.secure) guest.lost.secure.ended();
    else guest.lost?.connection.close(error);
  };
  const settle = (peer: Socket<undefined>, { overdue }: Guest): void => {
    clearTimeout(overdue);
    ungreeted.delete(peer);
  };
  const socket: SocketHandler<undefined> = {
    binaryType: "uint8array",
    open(peer) {
      const overdue = setTimeout(() => peer.terminate(), GREETING_LIMIT_MS);
      overdue.unref();
      guests.set(peer, { first: new Uint8Array(0), overdue, lost: undefined });
      ungreeted.add(peer, peer.remoteAddress)?.terminate();
    },
    data(peer, bytes) {
      const guest = guests.get(peer);
      if (!guest) return;
      if (guest.lost) return (guest.lost.secure ?? guest.lost.connection).received(bytes);
      const come = (guest.first = Buffer.concat([guest.first, bytes]));
      const arrival = sortArrival(come, greetings);
      if (arrival.kind === "unknown") return;
      if (arrival.kind === "control" || arrival.kind === "tls") {
        const connection = refusing(to.controlPort);
        const secure = arrival.kind === "tls" ? security.accept?.(peer, connection) : undefined;
        guest.lost = { connection, secure };
        connection.opened(secure ?? peer);
        return (secure ?? connection).received(come);
      }
      settle(peer, guest);
      guests.delete(peer);
      if (arrival.kind === "look") return void peer.end(answerTo(arrival.question));
      if (arrival.kind === "data" && !handOver(peer, arrival.greeting, come, bring)) {
        peer.write(arrival.greeting.refusal);
        peer.end();
      } else peer.terminate();
    },
    drain(peer) {
      const lost = guests.get(peer)?.lost;
      (lost?.secure ?? lost?.connection)?.drained();
    },
    end: (peer) => over(peer),
    close: (peer) => over(peer),
    error: over,
  };
  return listenTcp({ kind: "tcp", host, port }, socket, "--data-port");
}

/**
 * A connection that answers the first message, or what is none, by saying that it came to the wrong port, and ends. Not before: what is sent
 * to a closed one would undo the answer.
 */
function refusing(controlPort: number): ClientConnection {
  const refuse = (): void =>
    connection.send({
      t: "refused",
      code: "RFAAS_PROTOCOL",
      message: `this port takes the data of leases alone; name port ${controlPort} of the node`,
    });
  const connection: ClientConnection = new Connection(clientVocabulary, {
    message() {
      refuse();
      connection.close();
    },
    closed(error) {
      if (error) refuse();
    },
  });
  return connection;
}
