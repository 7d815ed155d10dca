/** Warns of a node that clients are told to reach by the name of its machine, when the name does not lead to it. */
import { hostname, networkInterfaces } from "node:os";
import { type Address, foundAt, isEverywhere } from "../../control/address.ts";
import { addressesOf, leadsToItself, plainAddress } from "../../control/reach/reach.ts";
import { log } from "../shared/log.ts";

/** How long the name may take to be resolved. */
const LIMIT_MS = 5_000;

interface Serving {
  allowRemote?: boolean | undefined;
  tokenKey?: string | undefined;
  manager?: string | undefined;
  advertise?: string | undefined;
}

/** What the name is for others this machine cannot know; a manager looks by itself at the address that it is told. */
export async function warnOfOwnName(
  listening: Address,
  { allowRemote, tokenKey, manager, advertise }: Serving,
): Promise<void> {
  const servesOthers = (allowRemote || tokenKey !== undefined) && manager === undefined;
  if (!servesOthers || advertise !== undefined || !isEverywhere(listening)) return;
  const own = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  const found = await addressesOf(hostname(), LIMIT_MS);
  const here = (one: string): boolean =>
    leadsToItself(one) || own.some(({ address }) => address === plainAddress(one).split("%")[0]);
  if (found.some(here)) return;
  const why =
    found.length === 0
      ? "no name server tells where that name is"
      : `the name leads to ${found.join(" and ")}, which this machine does not have`;
  const others = own.filter(({ internal, scopeid }) => !internal && !scopeid);
  const instead =
    others.length === 0 ? "" : ` (${others.map(({ address }) => address).join(", ")})`;
  log.warn(
    `clients may not find this node at ${foundAt(listening)}: ${why}; put the name into DNS, or tell them an address of this machine${instead}`,
  );
}
