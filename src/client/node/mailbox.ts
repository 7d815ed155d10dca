/** Where the memory of a lease arrives, from a node of this machine. */
import { Mailbox, closeDescriptor } from "../../../ffi/descriptors.ts";
import type { NativeError } from "../../../ffi/errors.ts";
import { LeaseRefused } from "../../base/errors.ts";
import type { Granted } from "../../protocol/lease-messages.ts";

/** A mailbox that takes from the node's `sender` alone. A sender that is gone is a node that is gone, which the request finds out. */
export function openMailbox(sender: Uint8Array | undefined): ReturnType<typeof Mailbox.named> {
  try {
    return Mailbox.named(sender);
  } catch (error) {
    if ((error as NativeError).code !== "ECONNREFUSED") throw error;
    return Mailbox.named();
  }
}

/** The descriptors of a lease, which the node sent before the grant. Throws {@link LeaseRefused}, or `NativeError`. */
export function received(mailbox: Mailbox, { nonce }: Granted, workers: number): number[] {
  const descriptors = mailbox.receive(nonce);
  if (descriptors?.length === 3 + workers) return descriptors;
  for (const fd of descriptors ?? []) closeDescriptor(fd);
  throw new LeaseRefused(
    "RFAAS_NO_SHARED_FABRIC",
    "the node granted the lease but its memory did not arrive; client and node must share a network namespace",
  );
}
