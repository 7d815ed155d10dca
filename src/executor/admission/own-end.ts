/** The node's end of a client's connection, as proofs name it. */
import type { Address } from "../../control/address.ts";
import type { Reached } from "../../control/dial-socket.ts";
import { endPlace, socketPlace } from "../../control/identity/ends.ts";
import type { OwnEnd } from "../../protocol/holder/proof.ts";

/** What of the listener others may know it by. */
interface Known {
  /** Other nodes may have the key, too. */
  sharesKey?: boolean | undefined;
  knownAs?: readonly string[] | undefined;
}

/** `local` is our end as the kernel has it, and `key` that of the certificate which was shown; null without TLS. */
export function ownEnd(
  listening: Address,
  local: Reached,
  key: string | null,
  { knownAs = [], sharesKey = false }: Known,
): OwnEnd {
  if (listening.kind === "unix") return { places: [socketPlace(listening.path)], key: null };
  const seen = endPlace(local);
  return { places: key === null ? [seen] : [seen, ...knownAs], key, sharesKey };
}
