/** How the manager hears what a node's leases use. */
import { type Static, Type } from "@sinclair/typebox";
import { type FabricName, counting } from "../../fabric/registry.ts";

/** How the usage of a node's running leases reaches the ledger; their begin and end always come by message. */
export const NodeLedger = Type.Object({
  ledger: Type.Unsafe<FabricName | "messages">(
    Type.Union(
      [...counting.map(({ name }) => name), "messages"].map((way) => Type.Literal(way)),
      { description: "by remote atomics of the node, or by message" },
    ),
  ),
  ledgerAdds: Type.Integer({
    minimum: 0,
    description: "how often a counter was found raised by the node, since it connected",
  }),
  usageMessages: Type.Integer({
    minimum: 0,
    description: "how many messages with bills the node has sent, since it connected",
  }),
});
export type NodeLedger = Static<typeof NodeLedger>;
