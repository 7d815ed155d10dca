/** A client's way to a node: connected in time, and known well enough to be told secrets, or not. */
import { type Address, placeOf } from "../../control/address.ts";
import type { Wire, WireEvents } from "../../control/connection.ts";
import { type Dialled, dial } from "../../control/dial.ts";
import { type Dialling, whyWithheld } from "../../control/dial-socket.ts";
import { type Patience, untilAborted, within } from "../../base/waiting.ts";
import { notReached } from "./failures.ts";

export interface Reached {
  /** Where it was reached, over a network. */
  at: { address: string; port: number } | undefined;
  /** Why it is told no secrets, as a clause; undefined when it may be. */
  withheld: string | undefined;
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
  met: (reached: Reached) => void,
): Promise<void> {
  const opened = (wire: Wire): void => {
    events.opened(wire);
    met(reachedBy(dialling, address));
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

function reachedBy(dialling: Dialling, address: Address): Reached {
  const known = dialling.acquaintance();
  const withheld =
    address.kind === "unix" ? undefined : whyWithheld(known, "node", placeOf(address));
  return { at: dialling.reached(), withheld };
}
