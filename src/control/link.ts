/** One connection to an address, from the attempt on; a {@link LastingConnection} makes one after another. */
import type { Vocabulary } from "../protocol/vocabulary.ts";
import type { Address } from "./address.ts";
import { Connection } from "./connection.ts";
import { type Dialled, dial } from "./dial.ts";
import type { Acquaintance, Dialling, Reached } from "./dial-socket.ts";

export interface LinkEvents<In> {
  /** `peer` says how the peer is known, and `reached` where it is; left out, by a network of a test's own. */
  opened(peer?: Acquaintance, reached?: Reached): void;
  message(message: In): void;
  /** It has ended, or the attempt failed; called once, and not before {@link dialLink} has returned. */
  closed(error?: Error): void;
}

export interface Link<Out> {
  send(message: Out): void;
  /** Ends it after what was sent, or ends the attempt. */
  close(error?: Error): void;
  /** Whether it keeps the program alive once it is open. */
  ref(): void;
  unref(): void;
}

/** Begins to connect to an address: {@link dialLink}, or a network of a test's own. */
export type Dial = <In extends { t: string }, Out extends { t: string }>(
  address: Address,
  vocabulary: Vocabulary<In>,
  events: LinkEvents<In>,
  to?: Dialled,
) => Link<Out>;

/** Connects over TCP, TLS where it leaves the machine, or to a socket of this machine. */
export const dialLink: Dial = <In extends { t: string }, Out extends { t: string }>(
  address: Address,
  vocabulary: Vocabulary<In>,
  events: LinkEvents<In>,
  to: Dialled = {},
): Link<Out> => {
  const connection = new Connection<In, Out>(vocabulary, events);
  let waits = true;
  const dialling: Dialling = dial(
    address,
    {
      opened: (wire) => {
        waits = false;
        connection.opened(wire);
        events.opened(dialling.acquaintance(), dialling.reached());
      },
      received: (bytes) => connection.received(bytes),
      drained: () => connection.drained(),
      close: (error) => connection.close(error),
    },
    to,
  );
  const close = (error?: Error): void => {
    connection.close(error);
    if (waits) dialling.abort();
  };
  dialling.connected.catch(close);
  return {
    send: (message) => connection.send(message),
    close,
    ref: () => connection.ref(),
    unref: () => connection.unref(),
  };
};
