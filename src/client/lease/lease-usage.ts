/** What a lease has cost, and how far that is known. */
import type { Usage } from "../../protocol/usage.ts";

/**
 * The counters of a lease. Its `state` is `"live"` while it goes on, `"final"` when it is over and the node has said its last sums, and
 * `"last-known"` when its node is lost: what it said last, with a renewal or when it was asked.
 */
export type LeaseUsage = Usage & { state: "live" | "final" | "last-known" };

/** The sum over the parts of a lease, which is as well known as the worst known of them. */
export function sumOf(all: readonly LeaseUsage[]): LeaseUsage {
  const [first, ...others] = all as [LeaseUsage, ...LeaseUsage[]];
  return others.reduce((sum, { state, ...usage }) => {
    const names = Object.keys(usage) as (keyof Usage)[];
    const counters = Object.fromEntries(names.map((name) => [name, sum[name] + usage[name]]));
    return { ...(counters as Usage), state: worse(sum.state, state) };
  }, first);
}

function worse(a: LeaseUsage["state"], b: LeaseUsage["state"]): LeaseUsage["state"] {
  if (a === "last-known" || b === "last-known") return "last-known";
  return a === "live" || b === "live" ? "live" : "final";
}
