/**
 * What nodes, clients and the manager say to each other: who is there, how much is free, what leases cost. Framed and checked as
 * the messages between clients and nodes are. No lease is ever asked of the manager.
 */
import { type Static, Type } from "@sinclair/typebox";
import {
  type FieldsOf,
  type MessageOf,
  type ReplyOf,
  type Speech,
  notice,
  request,
  vocabularyOf,
} from "./declare.ts";
import { bytes, count, index } from "./fields.ts";
import { UserLimits, UserWord } from "./tokens/limits.ts";
import { UserName } from "./tokens/names.ts";
import { Revocation } from "./tokens/revocation.ts";
import { Challenge, Prove } from "./messages.ts";
import { Usage } from "./usage.ts";

/** Raised when a message changes in a way that an older peer would misread. */
export const MANAGER_PROTOCOL_VERSION = 3;

/** The most cores of one node. */
export const MAX_NODE_CORES = 1024;
/** The most memory of one node: 1 PiB. */
export const MAX_NODE_MEMORY_BYTES = 2 ** 50;
/** The longest name of a node. */
export const MAX_NODE_NAME_CHARACTERS = 128;
/** What the name of a node is made of. */
export const NODE_NAME_PATTERN = "^[A-Za-z0-9._:-]+$";

/** The most entries of one message; a longer list travels in parts. Even the largest entries stay far below the frame limit. */
export const MAX_PART_ENTRIES = 500;
/** Keep-alive: a node sends a message at least this often. */
export const HEARTBEAT_INTERVAL_MS = 500;
/** Keep-alive: the manager sends a message at least this often. */
export const ALIVE_INTERVAL_MS = 1_000;
/** Peers take a manager for dead that is silent for this long. */
export const MANAGER_SILENCE_MS = 5_000;

const label = Type.String({ maxLength: 128 });
const text = Type.String({ maxLength: 256 });
const prose = Type.String({ maxLength: 4096 });
const token = Type.Union([Type.String({ maxLength: 8192 }), Type.Null()]);
/** A certificate, or a request for one, as text. */
const pem = Type.String({ maxLength: 8192 });
const fingerprint = Type.String({ pattern: "^sha256:[0-9a-f]{64}$" });
const publicKey = Type.Union([Type.String({ maxLength: 1024 }), Type.Null()]);
const cores = Type.Integer({ minimum: 0, maximum: MAX_NODE_CORES });
const memory = Type.Number({ minimum: 0, maximum: MAX_NODE_MEMORY_BYTES });
const time = Type.Number({ minimum: 0, maximum: 8.64e15 });
const fabrics = Type.Array(Type.String({ maxLength: 64 }), { maxItems: 16 });
/** Which messages, beyond those of the first version of this protocol, the sender takes. */
const can = Type.Optional(Type.Array(Type.String({ maxLength: 64 }), { maxItems: 64 }));
/** What a node may say of itself in `can`. */
export const NODE_CAN = ["readmit", "revoked", "quotas"] as const;

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
  /** What it is for, as its token or its client says; left out, nothing in particular. */
  project: Type.Optional(label),
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
  /** Hosts that wait for another lease of their module; left out where the node does not say. */
  keptHosts: Type.Optional(index),
  /** Requests that wait for room there; left out where the node does not say. */
  waiting: Type.Optional(index),
  /** Since when the one waits that waits longest, in milliseconds since 1970; left out when none does. */
  waitingSinceMs: Type.Optional(time),
  fabrics,
  machine: label,
  version: label,
  state: NodeState,
  /** Whether the manager reaches it at its address: `yes`, or how that fails; left out where it has not looked. */
  reachable: Type.Optional(label),
});
export type NodeInfo = Static<typeof NodeInfo>;

/** The first message of a node. The form of its first three fields is the same in all versions. */
export const Announce = notice("announce", {
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
  /** The node has left the cluster, and only hands in bills. */
  settling: Type.Boolean(),
  can,
});
export type Announce = FieldsOf<typeof Announce>;
/** The first message of a client. The form of its first three fields is the same in all versions. */
export const Subscribe = notice("subscribe", { protocol: count, version: label, token });

/**
 * The first message of a node that wants a certificate, over TLS. It shows that it may: once with a join token, and later with the
 * certificate that it has. The form of its first three fields is the same in all versions.
 */
export const Enrol = notice("enrol", {
  protocol: count,
  version: label,
  name: text,
  /** For the key that the certificate is to be for, and signed with it (PKCS#10, PEM). */
  request: pem,
  joinToken: Type.Union([text, Type.Null()]),
  /** One of this cluster's for the same key. */
  certificate: Type.Union([pem, Type.Null()]),
});
export type Enrol = FieldsOf<typeof Enrol>;
/** After it the manager ends the connection. */
const Enrolled = notice("enrolled", {
  certificate: pem,
  /** That of the authority which has issued it. */
  ca: pem,
  /** What the node shows the manager from then on; null where the cluster asks for no tokens. */
  token,
});
export type Enrolled = FieldsOf<typeof Enrolled>;

const Capacity = notice("capacity", {
  freeCores: cores,
  freeMemoryBytes: memory,
  leases: index,
  keptHosts: Type.Optional(index),
  waiting: Type.Optional(index),
  waitingSinceMs: Type.Optional(time),
  draining: Type.Boolean(),
});
export type Capacity = FieldsOf<typeof Capacity>;
/** Answered once the reports are in the ledger. */
export const ReportUsage = request(
  "report-usage",
  { reports: Type.Array(UsageReport, { maxItems: MAX_PART_ENTRIES }) },
  {},
);
/** The node could add to counters in the manager's memory over the fabric, and asks for some. Earlier ones are let go. */
export const GetCounters = request(
  "get-counters",
  { fabric: label },
  {
    /** Where counters were set aside for the node that shows the nonce there. */
    address: text,
    port: Type.Integer({ minimum: 1, maximum: 65_535 }),
    nonce: Type.Uint8Array({ minByteLength: 16, maxByteLength: 16 }),
  },
);
export type CountersOffer = ReplyOf<typeof GetCounters>;
/**
 * A row of the node's counters is for a lease that the manager knows; nothing is under way to it. Answered when the row holds
 * zeros, and the manager reads it for the lease.
 */
export const BindRow = request("bind-row", { row: index, lease: text }, {});
/**
 * The node asks whether the manager reaches it at the address that it has announced: there it answers the question. Only a manager that
 * has said `looks` is asked.
 */
export const CheckAddress = request(
  "check-address",
  { question: bytes(16), answer: bytes(16) },
  { reached: label },
);
const held = { lease: count, user: UserName, cores, memoryBytes: memory };

/**
 * The node has booked a lease for a user who has a limit, and asks whether that may hold so much more in the cluster. Failed with
 * RFAAS_TOKEN_LIMIT where not.
 */
export const Reserve = request(
  "reserve",
  /** `limits` are those of the token. */
  { ...held, limits: UserLimits },
  {},
);
/** A lease that was reserved is over, or was not granted. */
export const Unreserve = notice("unreserve", { lease: count });
/** All leases of the node, in parts. They take the place of those that the manager knew of. */
export const Holdings = notice("holdings", {
  leases: Type.Array(Type.Object(held), { maxItems: MAX_PART_ENTRIES }),
  first: Type.Boolean(),
});

/** In parts; those that are not named are as they were, unless it is the first. */
export const QuotaWord = notice("quota", {
  nodes: count,
  rank: index,
  first: Type.Boolean(),
  users: Type.Array(UserWord, { maxItems: MAX_PART_ENTRIES }),
});
export type QuotaWord = Omit<MessageOf<typeof QuotaWord>, "t">;
const Leaving = notice("leaving", {});

/** The newest report of each lease that goes on, of those that the client may see. */
export const ListClusterLeases = request(
  "list-leases",
  {},
  { leases: Type.Array(UsageReport, { maxItems: MAX_PART_ENTRIES }), last: Type.Boolean() },
);

/** A token like the one that the client has shown, for as long again. Only of a manager that has said that it gives one. */
export const RenewTokenHere = request(
  "renew-token",
  {},
  { token: Type.String({ maxLength: 8192 }) },
);

/** The last message of a manager that ends the connection. Its form is the same in all versions. */
const Refused = notice("refused", { code: label, message: prose });
const Alive = notice("alive", {});

const Accepted = notice("accepted", {
  name: NodeName,
  publicKey,
  /** It looks for nodes at their addresses when they ask it to. */
  looks: Type.Optional(Type.Boolean()),
  ca: Type.Optional(fingerprint),
  /** What the node may ask, beyond what every manager answers. */
  can,
});
const LedgerState = notice("ledger", {
  /** Why bills cannot be saved for now; null when they can. */
  problem: Type.Union([prose, Type.Null()]),
});
const Drain = notice("drain", {
  /** From now; then leases that are left are ended. */
  deadlineMs: Type.Number({ minimum: 0, maximum: 0xffffffff }),
});
/** All tokens that were revoked, in parts; they take the place of those that the node had. To nodes that can hear of it. */
const Revoked = notice("revoked", {
  tokens: Type.Array(Revocation, { maxItems: MAX_PART_ENTRIES }),
  /** Whether a list begins, and whether it is complete, with this part. */
  first: Type.Boolean(),
  last: Type.Boolean(),
});
const Resume = notice("resume", {});
const Remove = notice("remove", {});
/** The node that was removed may come again: the manager ends the connection, and it announces itself anew. To nodes that can hear of it. */
const Readmit = notice("readmit", {});

const ManagerKey = notice("manager-key", {
  publicKey,
  /** The fingerprint of the authority that issues the certificates of nodes; left out where none does. */
  ca: Type.Optional(fingerprint),
  /** What this client may ask, beyond what every manager answers. */
  can,
});
const Nodes = notice("nodes", {
  nodes: Type.Array(NodeInfo, { maxItems: MAX_PART_ENTRIES }),
  /** Whether the list is complete with this part. */
  last: Type.Boolean(),
});
const NodesChanged = notice("nodes-changed", {
  nodes: Type.Array(NodeInfo, { maxItems: MAX_PART_ENTRIES }),
  gone: Type.Array(NodeName, { maxItems: MAX_PART_ENTRIES }),
});
export type NodesChanged = MessageOf<typeof NodesChanged>;

/** What a node, and what a client, may say to the manager once it has greeted. */
export const nodeToManager = [
  Capacity,
  ReportUsage,
  GetCounters,
  BindRow,
  CheckAddress,
  Reserve,
  Unreserve,
  Holdings,
  Leaving,
] as const;
export const clientToManager = [ListClusterLeases, RenewTokenHere] as const;
const greetings = [Announce, Subscribe, Enrol] as const;
export const managerToNode = [
  Challenge,
  Accepted,
  Refused,
  Alive,
  LedgerState,
  Drain,
  Resume,
  Remove,
  Readmit,
  Revoked,
  QuotaWord,
] as const;
export const managerToClient = [
  Challenge,
  ManagerKey,
  Refused,
  Alive,
  Nodes,
  NodesChanged,
] as const;
/** To a node that enrols. */
export const managerToNewcomer = [Enrolled, Refused] as const;

const toManager = [...greetings, Prove, ...nodeToManager, ...clientToManager] as const;
export type ToManager = Speech<typeof toManager, []>;
export type Greeting = Speech<typeof greetings, []>;
export type NodeSays = Speech<typeof nodeToManager, []>;
export type ClientSays = Speech<typeof clientToManager, []>;
export type ManagerToNode = Speech<typeof managerToNode, typeof nodeToManager>;
export type ManagerToClient = Speech<typeof managerToClient, typeof clientToManager>;
export type ManagerToNewcomer = Speech<typeof managerToNewcomer, []>;
/** All that a manager may say. */
export type ManagerSays = ManagerToNode | ManagerToClient | ManagerToNewcomer;
export const toManagerVocabulary = vocabularyOf(toManager, []);
export const managerToNodeVocabulary = vocabularyOf(managerToNode, nodeToManager);
export const managerToClientVocabulary = vocabularyOf(managerToClient, clientToManager);
export const managerToNewcomerVocabulary = vocabularyOf(managerToNewcomer, []);

/** A list as it travels: in parts, one at least. */
export function inParts<T>(list: readonly T[]): T[][] {
  const parts: T[][] = [];
  for (let from = 0; from < list.length || from === 0; from += MAX_PART_ENTRIES)
    parts.push(list.slice(from, from + MAX_PART_ENTRIES));
  return parts;
}
