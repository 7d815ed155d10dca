/** What a manager says of who its nodes are, and what follows for connecting to one. */
import { NodeUnreachable, PeerNotTrusted } from "../../base/errors.ts";
import { type Address, isLoopback } from "../../control/address.ts";
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

/** Whether the error is that this one node cannot be reached: it does not answer, or another machine does in its place. */
export const isOfNode = (error: unknown): error is NodeUnreachable | PeerNotTrusted =>
  error instanceof NodeUnreachable || error instanceof PeerNotTrusted;
