/** What requests to the manager's HTTP interface and its answers look like: they are checked by these schemas, and described by them. */
import { MOMENT_FORMS } from "../../base/units.ts";
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import {
  MAX_NODE_CORES,
  MAX_NODE_MEMORY_BYTES,
  NodeInfo,
  NodeName,
  UsageReport,
} from "../../protocol/manager-messages.ts";
import { Bill } from "../ledger/bill.ts";
import { NodeLedger } from "../ledger/node-ledger.ts";
import { Prices } from "../ledger/prices.ts";

/** The default deadline of a drain. */
export const DEFAULT_DRAIN_MS = 30_000;

/** A node as operators see it. */
export const NodeStatus = Type.Composite([NodeInfo, NodeLedger]);
export type NodeStatus = Static<typeof NodeStatus>;

export const ErrorAnswer = Type.Object({
  error: Type.Object({
    code: Type.String(),
    /** Says what to do. */
    message: Type.String(),
    path: Type.Optional(Type.String({ description: "JSON pointer to the wrong field" })),
  }),
});

const exact = { additionalProperties: false } as const;
const described = {
  address: Type.String({
    minLength: 1,
    maxLength: 256,
    description: "where its agent listens: HOST:PORT or a socket path",
  }),
  cores: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_NODE_CORES })),
  memory: Type.Optional(
    Type.Integer({ minimum: 0, maximum: MAX_NODE_MEMORY_BYTES, description: "bytes" }),
  ),
};
export const NewNode = Type.Object({ name: NodeName, ...described }, exact);
export const NamedNode = Type.Object(described, exact);
export const Drain = Type.Object(
  {
    deadlineMs: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 0xffffffff, default: DEFAULT_DRAIN_MS }),
    ),
  },
  exact,
);
export const Nothing = Type.Object({}, exact);
const moment = Type.String({
  maxLength: 64,
  description: MOMENT_FORMS,
});
export const BillQuery = Type.Object(
  {
    user: Type.Optional(Type.String({ maxLength: 256 })),
    project: Type.Optional(Type.String({ maxLength: 256 })),
    since: Type.Optional(moment),
    until: Type.Optional(moment),
  },
  exact,
);
export const Health = Type.Object({
  status: Type.Union([Type.Literal("ok"), Type.Literal("degraded")]),
  version: Type.String(),
  nodes: Type.Integer({ minimum: 0 }),
  ledger: Type.String({ description: "ok, or the code of what is wrong" }),
  role: Type.Union([Type.Literal("leader"), Type.Literal("standby")], {
    description: "whether this manager acts for the cluster, or stands by for the one that does",
  }),
  leader: Type.Optional(Type.String({ description: "where the one is that does" })),
  registry: Type.Optional(
    Type.String({ description: "of managers that share one: ok, or what is wrong" }),
  ),
});

/** Schemas that get a name in the description. */
export const COMPONENTS: ReadonlyMap<TSchema, string> = new Map<TSchema, string>([
  [NodeStatus, "Node"],
  [UsageReport, "Lease"],
  [Bill, "Bill"],
  [Prices, "Prices"],
  [ErrorAnswer, "Error"],
]);
