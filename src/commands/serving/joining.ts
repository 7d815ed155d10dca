/** How `rfaas serve` takes part in the cluster of a manager on another machine. */
import { join } from "node:path";
import { UsageError } from "../../base/errors.ts";
import { type NetworkAddress, isLoopback } from "../../control/address.ts";
import { parseManagers } from "../../control/managers.ts";
import type { BookkeeperOptions } from "../../executor/accounts/bookkeeper.ts";
import { createStateDir } from "../../manager/state/state.ts";
import type { Membership } from "../../executor/membership/membership.ts";
import { log } from "../shared/log.ts";
import { printable } from "../shared/table.ts";

export interface JoiningOptions {
  manager?: string | undefined;
  name: string;
  joinToken: string | undefined;
  insecure?: boolean | undefined;
  /** With which certificate the node serves; undefined for the one that it gets. */
  tlsCert?: string | undefined;
  stateFolder: string;
}

/**
 * Joins, or takes up what the node has got when it joined; undefined where the node speaks with its manager without TLS: on one machine,
 * or with `--insecure`.
 *
 * Throws {@link UsageError}, `StateInUse` where another process is this node, and what `Membership.open` throws.
 */
export async function joinCluster(options: JoiningOptions): Promise<Membership | undefined> {
  const { manager, name, joinToken, insecure, tlsCert, stateFolder } = options;
  if (manager === undefined) {
    if (joinToken === undefined) return undefined;
    throw new UsageError("a join token is for a cluster; name its manager with --manager");
  }
  const managers = parseManagers(manager)
    .filter((address) => address.kind !== "unix")
    .filter((address) => !isPlain(address, insecure));
  if (managers.length === 0) return undefined;
  if (tlsCert !== undefined)
    throw new UsageError(
      "--tls-cert is for a node without a manager: one of a cluster has a certificate of the cluster's authority; leave it out",
    );
  const { Membership } = await import("../../executor/membership/membership.ts");
  // A name may be `..`.
  const folder = join(stateFolder, `node-${encodeURIComponent(name)}`);
  createStateDir(folder);
  // For as long as this process lives: the manager takes two runs with one key for one node.
  (await import("../../trust/state-lock.ts")).takeState(folder, "node");
  return await Membership.open({
    ...{ managers, name, joinToken, folder },
    log: (level, message) => log[level](printable(message)),
  });
}

/** With which key and certificate a member serves. */
export const tlsFilesOf = ({
  tls,
}: Membership): { tlsCert: string; tlsKey: string; isMember: true } => ({
  tlsCert: tls.certificate,
  tlsKey: tls.key,
  isMember: true,
});

/** How a member speaks with its manager. */
export const linkOf = (
  membership: Membership,
): Pick<BookkeeperOptions, "manager" | "token" | "tokenRefused"> => ({
  manager: membership.managers,
  token: membership.token,
  tokenRefused: () => membership.tokenRefused(),
});

const isPlain = ({ secure, host }: NetworkAddress, insecure: boolean | undefined): boolean =>
  secure === undefined && (isLoopback(host) || insecure === true);
