/** A client's way to a node: connected in time, and known well enough to be told secrets, or not. */
import { type Address, placeOf } from "../../control/address.ts";
import type { WireEvents } from "../../control/connection.ts";
import { type Dialled, dial } from "../../control/dial.ts";
import { whyWithheld } from "../../control/dial-socket.ts";
import { type Patience, untilAborted, within } from "../../base/waiting.ts";
import { notReached } from "./failures.ts";

export interface Reached {
  /** Where it was reached, over a network. */
  at: { address: string; port: number } | undefined;
  /** Why it is told no secrets, as a clause; undefined when it may be. */
  withheld: string | undefined;
}

/**
 * Connects to a node; `events` hear of it first.
 *
 * @throws {NodeUnreachable} no node answers in time
 * @throws {PeerNotTrusted} another machine than the one that is meant answers
 */
export async function reach(
  address: Address,
  events: WireEvents,
  { timeoutMs, signal }: Patience,
  to: Dialled,
): Promise<Reached> {
  const dialling = dial(address, events, to);
  const late = () => new Error(`no answer within ${timeoutMs} ms`);
  try {
    await untilAborted(within(dialling.connected, timeoutMs, late), signal);
  } catch (cause) {
    dialling.abort();
    if (signal?.aborted) throw cause;
    throw notReached(address, cause as Error);
  }
  const known = dialling.acquaintance();
  const withheld =
    address.kind === "unix" ? undefined : whyWithheld(known, "node", placeOf(address));
  return { at: dialling.reached(), withheld };
}
