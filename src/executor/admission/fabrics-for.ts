/** What a node says of its fabrics to one client: which it serves to it, and why not the others. */
import { distance, machineId } from "../../control/machine.ts";
import { type Survey, type Withheld, namesOf } from "../../fabric/registry.ts";
import type { NodeFabrics } from "../../protocol/messages.ts";

type Reason = Omit<NodeFabrics["withheld"][number], "name">;

const APART: Record<"network" | "machine", Reason> = {
  network: {
    reason: "client and node are in different network namespaces of one machine",
    fix: "let both have one network, as containers have with --network host, or in one pod",
  },
  machine: { reason: "client and node are on different machines" },
};

/** `machine` is what the client has named as its own. */
export function fabricsFor(
  { offers, withheld }: Survey,
  machine: string,
  own = machineId(),
): NodeFabrics {
  const apart = distance(machine, own);
  const names = namesOf(offers);
  const far =
    apart === "none"
      ? []
      : offers.flatMap(({ fabric: { name, sharesMemory } }) =>
          sharesMemory ? [{ name, ...APART[apart] }] : [],
        );
  const kept = withheld.map((one) => ({ name: one.fabric.name, ...reasonOf(one, names) }));
  return {
    offered: names.filter((name) => !far.some((out) => out.name === name)),
    withheld: [...far, ...kept],
  };
}

function reasonOf({ lacks }: Withheld, served: readonly string[]): Reason {
  if (!lacks)
    return {
      reason: `the node serves ${served.join(" and ")} alone`,
      fix: "start the node without --fabric",
    };
  const [reason, ...fix] = lacks.message.split("; ");
  return {
    reason: `on the node: ${reason}`,
    ...(fix.length === 0 ? {} : { fix: `on the node: ${fix.join("; ")}` }),
  };
}
