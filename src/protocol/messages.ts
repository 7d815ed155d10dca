/**
 * The messages between a client and a node: the greeting, what the node tells of itself, and those about leases and packages. A
 * call never travels as a message.
 */
import { type Static, Type } from "@sinclair/typebox";
import {
  type FieldsOf,
  type ReplyOf,
  type Speech,
  notice,
  request,
  vocabularyOf,
} from "./declare.ts";
import { bytes, count, index, text } from "./fields.ts";
import { leaseMessages, leaseNotices } from "./lease-messages.ts";
import { packageMessages } from "./package-messages.ts";
import { Usage } from "./usage.ts";

export { PROTOCOL_VERSION } from "./frame.ts";

/** The most leases in one listing; a node hardly has as many cores. */
export const MAX_LISTED = 4096;
/** Longer names of modules are cut. */
export const MAX_LISTED_NAME = 256;

const time = Type.Number({ minimum: 0, maximum: 8.64e15 });

/** A lease as its node lists it: to the node's own user all leases, to another user those of that user. */
export const ListedLease = Type.Object({
  lease: count,
  user: text,
  /** As its client calls it. */
  module: Type.String({ maxLength: MAX_LISTED_NAME }),
  workers: count,
  coresPerWorker: count,
  memoryBytes: Type.Number({ minimum: 0 }),
  fabric: text,
  phase: Type.Union([
    Type.Literal("loading"),
    Type.Literal("active"),
    Type.Literal("revoking"),
    Type.Literal("ending"),
  ]),
  startedAtMs: time,
  usage: Usage,
});
export type ListedLease = Static<typeof ListedLease>;

/** Those that wait for room on a node. */
export const LineState = Type.Object({
  waiting: index,
  /** The time of the one who waits longest; 0 when none does. */
  longestWaitMs: Type.Number({ minimum: 0 }),
  /** Room that is offered, and not yet taken. */
  offers: index,
  /** How many have waited and were served, since the node was started, */
  served: index,
  /** and for how long, all together. */
  waitedMs: Type.Number({ minimum: 0 }),
});
export type LineState = Static<typeof LineState>;

export const ListLeases = request(
  "list-leases",
  {},
  {
    draining: Type.Boolean(),
    freeCores: index,
    freeMemoryBytes: Type.Number({ minimum: 0 }),
    /** All of the node's leases, also those that are not shown. */
    total: index,
    /** Hosts that wait for another lease of their module. */
    keptHosts: Type.Optional(index),
    line: Type.Optional(LineState),
    shown: Type.Array(ListedLease, { maxItems: MAX_LISTED }),
  },
);
export type Leases = ReplyOf<typeof ListLeases>;

/** The first message of a client. Its form is the same in all versions: a node reads of it which one the client speaks. */
export const Hello = notice("hello", {
  protocol: count,
  version: text,
  pid: count,
  fabrics: Type.Array(text, { maxItems: 16 }),
  machine: text,
  /** Who asks, signed by a manager or the node's owner. */
  token: Type.Optional(Type.Union([Type.String({ maxLength: 4096 }), Type.Null()])),
});
export type Hello = FieldsOf<typeof Hello>;
/** The node wants the holder of the token to prove that it is it, once, and welcomes or refuses the client then. */
export const Challenge = notice("challenge", { nonce: text });
/** As `holder/proof.ts` makes it, for the nonce. */
export const Prove = notice("prove", { proof: Type.String({ maxLength: 4096 }) });

/** Why a node does not serve a fabric to a client: a clause, and what to do about it where something can be done. */
const WithheldFabric = Type.Object({ name: text, reason: text, fix: Type.Optional(text) });
/** What a node of this version may say of itself in `can`. */
export const SERVES = ["renew-token"] as const;

/** What a node serves to the client that asks, and what not. */
export const NodeFabrics = Type.Object({
  offered: Type.Array(text, { maxItems: 16 }),
  withheld: Type.Array(WithheldFabric, { maxItems: 16 }),
});
export type NodeFabrics = Static<typeof NodeFabrics>;

export const GetStatus = request(
  "get-status",
  /** With `fabrics` the answer tells of these, too. */
  { fabrics: Type.Optional(Type.Boolean()) },
  {
    freeCores: index,
    freeMemoryBytes: Type.Number(),
    leases: index,
    prewarmedHosts: index,
    keptHosts: Type.Optional(index),
    line: Type.Optional(LineState),
    fabrics: Type.Optional(NodeFabrics),
  },
);
export type Status = ReplyOf<typeof GetStatus>;

export const Welcome = notice("welcome", {
  protocol: count,
  version: text,
  pid: count,
  cores: count,
  memoryBytes: Type.Number(),
  /** Those that this client can use. */
  fabrics: Type.Array(text, { maxItems: 16 }),
  /** The name of the socket that sends descriptors to the client's mailboxes. */
  sender: Type.Optional(bytes(5)),
  /** Which messages it takes that not every node of this protocol does. */
  can: Type.Optional(Type.Array(Type.String({ maxLength: 64 }), { maxItems: 64 })),
});
export type Welcome = FieldsOf<typeof Welcome>;
/** The last message of a node that ends the connection. Its form is the same in all versions. */
export const Refused = notice("refused", { code: text, message: text });
export const Draining = notice("draining", {});

/** What a client may say once it has greeted. */
export const greetedMessages = [
  ...leaseMessages,
  ...packageMessages,
  GetStatus,
  ListLeases,
] as const;
export const clientMessages = [Hello, Prove, ...greetedMessages] as const;
export const nodeMessages = [Challenge, Welcome, Refused, Draining, ...leaseNotices] as const;

export type ClientMessage = Speech<typeof clientMessages, typeof nodeMessages>;
export type NodeMessage = Speech<typeof nodeMessages, typeof clientMessages>;
export const clientVocabulary = vocabularyOf(clientMessages, nodeMessages);
export const nodeVocabulary = vocabularyOf(nodeMessages, clientMessages);
