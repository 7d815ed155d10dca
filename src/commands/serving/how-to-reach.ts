/** The lines by which a node that has started says how clients reach it, and how safe that is. */
import { isIPv6 } from "node:net";
import {
  type Address,
  formatAddress,
  foundAt,
  isEverywhere,
  parseAddress,
  placeOf,
} from "../../control/address.ts";
import type { Fingerprint } from "../../trust/fingerprint.ts";
import { log } from "../shared/log.ts";

export interface Reachability {
  /** Clients of other machines, too. */
  serves: boolean | undefined;
  insecure: boolean | undefined;
  /** Where clients find the node, where it is told. */
  advertise: string | undefined;
  /** Of the node's key, where it has one. */
  key: Fingerprint | undefined;
}

export function tellHowToReach(
  listening: Address,
  { serves, insecure, advertise, key }: Reachability,
): void {
  const told = advertise === undefined ? undefined : parseAddress(advertise);
  let shown = told?.kind === "tcp" ? placeOf(told) : foundAt(listening);
  if (listening.kind === "tcp" && isEverywhere(listening) && !serves) {
    log.info(
      "clients of other machines are refused; serve them with --allow-remote, --token-key or --manager",
    );
    // A node that serves programs of this machine alone is reached over loopback.
    shown = formatAddress({ ...listening, host: isIPv6(listening.host) ? "::1" : "127.0.0.1" });
  } else if (key !== undefined) {
    // Quoted, for a shell.
    shown = `'rfaas://${shown}?key=${key}'`;
  }
  if (insecure)
    log.warn(
      "--insecure: other machines of the network can read and change what clients and this node say; leave it out, and control connections are TLS",
    );
  log.info(`reach it with: rfaas invoke FILE.ts --node ${shown}   or   RFAAS_NODE=${shown}`);
}
