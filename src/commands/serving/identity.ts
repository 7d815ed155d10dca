/** Who a node is to its clients and its manager: the key, the certificate and the membership that `rfaas serve` opens. */
import type { Address } from "../../control/address.ts";
import { openSecurity } from "../../executor/admission/security.ts";
import { defaultStateDir } from "../../manager/state/state.ts";
import { log } from "../shared/log.ts";
import { type JoiningOptions, joinCluster, tlsFilesOf } from "./joining.ts";

export interface IdentityOptions extends Omit<JoiningOptions, "stateFolder"> {
  state?: string | undefined;
  tlsKey?: string | undefined;
  advertise?: string | undefined;
}

/**
 * As whom the node speaks: as a member of its manager's cluster, or with a key of its own.
 *
 * Throws {@link UsageError}, and what `Membership.open` and {@link openSecurity} throw.
 */
export async function identityOf(options: IdentityOptions, listening: Address) {
  const { state: stateFolder = defaultStateDir() } = options;
  const membership = await joinCluster({ ...options, stateFolder });
  const opened = await openSecurity(listening, {
    ...options,
    ...(listening.kind !== "unix" && membership ? tlsFilesOf(membership) : {}),
    stateFolder,
    warn: (message) => log.warn(message),
  });
  if (membership || (opened.credentials && options.tlsCert === undefined)) {
    const open = (await import("../../trust/files.ts")).whyOpenToOthers(stateFolder);
    if (open !== undefined) log.warn(open);
  }
  return { membership, ...opened };
}
