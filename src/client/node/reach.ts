/** A client's way to a node: connected in time, and known well enough to be told secrets, or not. */
import { type Address, placeOf } from "../../control/address.ts";
import type { Wire, WireEvents } from "../../control/connection.ts";
import { type Dialled, dial } from "../../control/dial.ts";
import {
  type Acquaintance,
  type Dialling,
  type Reached,
  whyWithheld,
} from "../../control/dial-socket.ts";
import { type PeerEnd, peerEnd } from "../../control/identity/ends.ts";
import { type Patience, untilAborted, within } from "../../base/waiting.ts";
import { notReached } from "./failures.ts";

export interface Met {
  /** Where it was reached, over a network. */
  at: Reached | undefined;
  known: Acquaintance;
  /** Why it is told no secrets, as a clause; undefined when it may be. */
  withheld: string | undefined;
  /** As proofs name it. */
  end: PeerEnd;
}

/**
 * Connects to a node; `events` hear of it first, then `met`, at once: what it sends is on its way before anything else is done.
 *
 * @throws {NodeUnreachable} no node answers in time
 * @throws {PeerNotTrusted} another machine than the one that is meant answers
 */
export async function reach(
  address: Address,
  events: WireEvents,
  { timeoutMs, signal }: Patience,
  to: Dialled,
  met: (met: Met) => void,
): Promise<void> {
  const opened = (wire: Wire): void => {
    events.opened(wire);
    met(metBy(dialling, address));
  };
  const dialling = dial(
    address,
    {
      opened,
      received: (bytes) => events.received(bytes),
      drained: () => events.drained(),
      close: (error) => events.close(error),
    },
    to,
  );
  const late = () => new Error(`no answer within ${timeoutMs} ms`);
  try {
    await untilAborted(within(dialling.connected, timeoutMs, late), signal);
  } catch (cause) {
    dialling.abort();
    if (signal?.aborted) throw cause;
    throw notReached(address, cause as Error);
  }
}

function metBy(dialling: Dialling, address: Address): Met {
  const known = dialling.acquaintance();
  const withheld =
    address.kind === "unix" ? undefined : whyWithheld(known, "node", placeOf(address));
  const at = dialling.reached();
  return { at, known, withheld, end: peerEnd(address, known, at) };
}
