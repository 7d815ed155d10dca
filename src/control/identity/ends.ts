/**
 * Where the two ends of a connection are, as proofs of possession name it. Without TLS only the kernel's word counts: a name may lead
 * elsewhere, and nothing but the address tells one peer from another. Over TLS the address as it was written may count, too.
 */
import { realpathSync } from "node:fs";
import { type Address, placeOf } from "../address.ts";
import type { Acquaintance, Reached } from "../dial-socket.ts";
import { plainAddress } from "../reach/reach.ts";

/** What a client sees of its peer. */
export interface PeerEnd {
  places: string[];
  /** The fingerprint of its certificate's key; null without TLS. */
  key: string | null;
}

/** Of the peer that was dialled at the address. */
export function peerEnd(
  address: Address,
  known: Acquaintance | undefined,
  reached: Reached | undefined,
): PeerEnd {
  if (address.kind === "unix") return { places: [socketPlace(address.path)], key: null };
  const key = known?.key ?? null;
  const seen = reached ? [endPlace(reached)] : [];
  return { places: key === null ? seen : [...new Set([placeOf(address), ...seen])], key };
}

/** Of one end of a TCP connection, IPv4 in its plain form and without an interface, which each machine calls its own way. */
export function endPlace({ address, port }: Reached): string {
  const [host = ""] = plainAddress(address).split("%");
  return placeOf({ kind: "tcp", host, port });
}

/** Of a socket, by whichever of its paths it is named. */
export function socketPlace(path: string): string {
  try {
    return `unix:${realpathSync(path)}`;
  } catch {
    // It has been removed meanwhile.
    return `unix:${path}`;
  }
}
