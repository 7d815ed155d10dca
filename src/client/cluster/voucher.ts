/** What a manager says of who its nodes are, and what follows for connecting to one. */
import { NodeUnreachable, PeerNotTrusted } from "../../base/errors.ts";
import { type Address, isLoopback } from "../../control/address.ts";
import type { Acquaintance } from "../../control/dial-socket.ts";
import type { Fingerprint } from "../../trust/fingerprint.ts";

export interface Voucher {
  /** The node's name, for which its certificate must be, */
  name: string;
  /** and which must be of this authority; undefined where the cluster has none. */
  ca?: Fingerprint | undefined;
  /** Why no token is shown to such a node, as a clause: the manager itself is not known well enough. */
  withheld?: string | undefined;
}

/**
 * The address with whom to trust there. What a cluster's authority vouches for counts more than a pin in the address, which is the node's own
 * word: by it, a node could pass for another one.
 */
export function vouchedFor(address: Address, voucher: Voucher | undefined): Address {
  if (address.kind === "unix" || voucher?.ca === undefined) return address;
  if (isLoopback(address.host) && !address.secure) return address;
  return { ...address, secure: { pin: { of: "ca", fingerprint: voucher.ca } } };
}

/**
 * Why a node that a manager has named is told no bearer token, as a clause; undefined when it may be, or none has named it. Who may name
 * addresses to the manager could gather tokens at his own, so the node must have proved by a certificate that it is the one of that name.
 */
export function whyUnvouched(
  address: Address,
  voucher: Voucher | undefined,
  known: Acquaintance,
): string | undefined {
  if (!voucher) return undefined;
  if (voucher.withheld !== undefined) return voucher.withheld;
  // A pin that came with the address is its own word.
  const isOwnWord = address.kind !== "unix" && address.secure?.pin !== undefined;
  if (known.by === "pin" && (voucher.ca !== undefined || !isOwnWord)) return undefined;
  return `no token was sent, as the node is one that only the manager has named, and who has a bearer token can use it elsewhere; ask for one with a key (rfaas token create without --bearer)`;
}

/** Whether the error is that this one node cannot be reached: it does not answer, or another machine does in its place. */
export const isOfNode = (error: unknown): error is NodeUnreachable | PeerNotTrusted =>
  error instanceof NodeUnreachable || error instanceof PeerNotTrusted;
