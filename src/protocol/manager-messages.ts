/**
 * What nodes, clients and the manager say to each other: who is there, how much is free, what leases cost. Framed and checked as
 * the messages between clients and nodes are. No lease is ever asked of the manager.
 */
import { type Static, Type } from "@sinclair/typebox";
import { Vocabulary } from "./vocabulary.ts";
import { Usage } from "./usage.ts";

/** Raised when a message changes in a way that an older peer would misread. */
export const MANAGER_PROTOCOL_VERSION = 2;

/** The most cores of one node. */
export const MAX_NODE_CORES = 1024;
/** The most memory of one node: 1 PiB. */
export const MAX_NODE_MEMORY_BYTES = 2 ** 50;
/** The longest name of a node. */
export const MAX_NODE_NAME_CHARACTERS = 128;
/** What the name of a node is made of. */
export const NODE_NAME_PATTERN = "^[A-Za-z0-9._:-]+$";

/** Entries of one message; a longer list travels in parts. Far from the longest frame, whatever is in them. */
export const MAX_PART_ENTRIES = 500;
/** A node says something at least this often. */
export const HEARTBEAT_INTERVAL_MS = 500;
/** The manager says something at least this often. */
export const ALIVE_INTERVAL_MS = 1_000;
/** A manager that says nothing for so long is gone. */
export const MANAGER_SILENCE_MS = 5_000;

const count = Type.Integer({ minimum: 1, maximum: 0xffffffff });
const index = Type.Integer({ minimum: 0, maximum: 0xffffffff });
const label = Type.String({ maxLength: 128 });
const text = Type.String({ maxLength: 256 });
const prose = Type.String({ maxLength: 4096 });
const token = Type.Union([Type.String({ maxLength: 8192 }), Type.Null()]);
const publicKey = Type.Union([Type.String({ maxLength: 1024 }), Type.Null()]);
const cores = Type.Integer({ minimum: 0, maximum: MAX_NODE_CORES });
const memory = Type.Number({ minimum: 0, maximum: MAX_NODE_MEMORY_BYTES });
const time = Type.Number({ minimum: 0, maximum: 8.64e15 });
const fabrics = Type.Array(Type.String({ maxLength: 64 }), { maxItems: 16 });

/** The name of a node, unique in its cluster. */
export const NodeName = Type.String({
  minLength: 1,
  maxLength: MAX_NODE_NAME_CHARACTERS,
  pattern: NODE_NAME_PATTERN,
});

export { Usage };

/** The bill of one lease, as its node knows it. */
export const UsageReport = Type.Object({
  /** Unique in the cluster: the instance of its node, a slash, a number. */
  lease: text,
  node: NodeName,
  user: text,
  workers: count,
  /** Left out, 1. */
  coresPerWorker: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_NODE_CORES })),
  startedAtMs: time,
  /** Null while the lease goes on. */
  endedAtMs: Type.Union([time, Type.Null()]),
  /** Why it ended, in one word. */
  reason: Type.Union([text, Type.Null()]),
  usage: Usage,
});
export type UsageReport = Static<typeof UsageReport>;

/** `expected`: named to the manager, not there yet. `down`: it was there, and its connection was lost. */
export const NodeState = Type.Union([
  Type.Literal("expected"),
  Type.Literal("up"),
  Type.Literal("draining"),
  Type.Literal("down"),
]);
export type NodeState = Static<typeof NodeState>;

/** A node as clients see it. */
export const NodeInfo = Type.Object({
  name: NodeName,
  /** A new one each time the node starts; empty before it first did. */
  instance: label,
  /** Where its agent listens: a socket path or HOST:PORT. */
  address: text,
  cores,
  memoryBytes: memory,
  freeCores: cores,
  freeMemoryBytes: memory,
  leases: index,
  fabrics,
  machine: label,
  version: label,
  state: NodeState,
});
export type NodeInfo = Static<typeof NodeInfo>;

const Announce = Type.Object({
  t: Type.Literal("announce"),
  protocol: count,
  version: label,
  /** The registry checks name, cores and memory, and says what is wrong in the node's own words. */
  name: text,
  instance: label,
  address: text,
  cores: Type.Number(),
  memoryBytes: Type.Number(),
  fabrics,
  machine: label,
  token,
  /** The node is gone for clients and has only bills to hand in. */
  settling: Type.Boolean(),
});
const Capacity = Type.Object({
  t: Type.Literal("capacity"),
  freeCores: cores,
  freeMemoryBytes: memory,
  leases: index,
  draining: Type.Boolean(),
});
const UsageBatch = Type.Object({
  t: Type.Literal("usage"),
  batch: count,
  reports: Type.Array(UsageReport, { maxItems: MAX_PART_ENTRIES }),
});
const Leaving = Type.Object({ t: Type.Literal("leaving") });
/** The node could add to counters in the manager's memory over RDMA, and asks for some. Earlier ones are given up. */
const AskCounters = Type.Object({ t: Type.Literal("ask-counters") });
/** A row of the node's counters is for a lease that the manager knows. Nothing is under way to it. */
const BindRow = Type.Object({ t: Type.Literal("bind-row"), row: index, lease: text });

const Subscribe = Type.Object({
  t: Type.Literal("subscribe"),
  protocol: count,
  version: label,
  token,
});
const AskLeases = Type.Object({ t: Type.Literal("ask-leases"), id: count });

const Refused = Type.Object({ t: Type.Literal("refused"), code: label, message: prose });
const Alive = Type.Object({ t: Type.Literal("alive") });

const Accepted = Type.Object({ t: Type.Literal("accepted"), name: NodeName, publicKey });
const UsageSaved = Type.Object({ t: Type.Literal("usage-saved"), batch: count });
const LedgerState = Type.Object({
  t: Type.Literal("ledger"),
  /** Why bills cannot be saved for now; null when they can. */
  problem: Type.Union([prose, Type.Null()]),
});
/** Counters were set aside for the node that shows the nonce there, over RDMA. */
const CountersOffer = Type.Object({
  t: Type.Literal("counters"),
  address: text,
  port: Type.Integer({ minimum: 1, maximum: 65_535 }),
  nonce: Type.Uint8Array({ minByteLength: 16, maxByteLength: 16 }),
});
const NoCounters = Type.Object({ t: Type.Literal("no-counters"), reason: prose });
/** The row holds zeros, and the manager reads it for the lease from now on. */
const RowBound = Type.Object({ t: Type.Literal("row-bound"), row: index, lease: text });
const Drain = Type.Object({
  t: Type.Literal("drain"),
  /** From now; then leases that are left are ended. */
  deadlineMs: Type.Number({ minimum: 0, maximum: 0xffffffff }),
});
const Resume = Type.Object({ t: Type.Literal("resume") });
const Remove = Type.Object({ t: Type.Literal("remove") });

const Nodes = Type.Object({
  t: Type.Literal("nodes"),
  nodes: Type.Array(NodeInfo, { maxItems: MAX_PART_ENTRIES }),
  /** Whether the list is complete with this part. */
  last: Type.Boolean(),
});
const NodesChanged = Type.Object({
  t: Type.Literal("nodes-changed"),
  nodes: Type.Array(NodeInfo, { maxItems: MAX_PART_ENTRIES }),
  gone: Type.Array(NodeName, { maxItems: MAX_PART_ENTRIES }),
});
const Leases = Type.Object({
  t: Type.Literal("leases"),
  id: count,
  leases: Type.Array(UsageReport, { maxItems: MAX_PART_ENTRIES }),
  last: Type.Boolean(),
});
const ManagerKey = Type.Object({ t: Type.Literal("manager-key"), publicKey });

export type Announce = Static<typeof Announce>;
export type Capacity = Static<typeof Capacity>;
export type CountersOffer = Static<typeof CountersOffer>;
export type NodesChanged = Static<typeof NodesChanged>;

/** What comes to the manager: `announce` or `subscribe` first, then what that makes of the peer. */
export type ToManager = Static<
  | typeof Announce
  | typeof Capacity
  | typeof UsageBatch
  | typeof Leaving
  | typeof AskCounters
  | typeof BindRow
  | typeof Subscribe
  | typeof AskLeases
>;
export type ManagerToNode = Static<
  | typeof Accepted
  | typeof Refused
  | typeof Alive
  | typeof UsageSaved
  | typeof LedgerState
  | typeof CountersOffer
  | typeof NoCounters
  | typeof RowBound
  | typeof Drain
  | typeof Resume
  | typeof Remove
>;
export type ManagerToClient = Static<
  | typeof ManagerKey
  | typeof Refused
  | typeof Alive
  | typeof Nodes
  | typeof NodesChanged
  | typeof Leases
>;

export const toManagerVocabulary = new Vocabulary<ToManager>([
  Announce,
  Capacity,
  UsageBatch,
  Leaving,
  AskCounters,
  BindRow,
  Subscribe,
  AskLeases,
]);
export const managerToNodeVocabulary = new Vocabulary<ManagerToNode>([
  Accepted,
  Refused,
  Alive,
  UsageSaved,
  LedgerState,
  CountersOffer,
  NoCounters,
  RowBound,
  Drain,
  Resume,
  Remove,
]);
export const managerToClientVocabulary = new Vocabulary<ManagerToClient>([
  ManagerKey,
  Refused,
  Alive,
  Nodes,
  NodesChanged,
  Leases,
]);

/** A list as it travels: in parts, one at least. */
export function inParts<T>(list: readonly T[]): T[][] {
  const parts: T[][] = [];
  for (let from = 0; from < list.length || from === 0; from += MAX_PART_ENTRIES)
    parts.push(list.slice(from, from + MAX_PART_ENTRIES));
  return parts;
}
