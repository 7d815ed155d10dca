/** The messages about leases between a client and its node: asking for one, using it, and what the node tells of it. */
import { Type } from "@sinclair/typebox";
import { type FieldsOf, type ReplyOf, notice, request } from "./declare.ts";
import {
  bytes,
  count,
  cores,
  cpus,
  duration,
  environment,
  fabric,
  heapBytes,
  hostTimeout,
  index,
  polling,
  portNumber,
  project,
  sequence,
  text,
} from "./fields.ts";
import { Excess } from "./ends/excess.ts";
import { Exports, LogLine, ProgressReport } from "./module-report.ts";
import { Usage } from "./usage.ts";

export const Allocate = request(
  "allocate",
  {
    /** `rfaas:NAME`, or `package:` and 64 hexadecimal digits. */
    module: text,
    /** The file that the package was made of, where the client has it. */
    origin: Type.Optional(text),
    workers: count,
    /** Threads and processes that its functions start run on these, too. Left out, 1. */
    coresPerWorker: Type.Optional(cores),
    memoryBytes: Type.Number({ minimum: 1, maximum: 2 ** 32 }),
    slots: count,
    polling: Type.Union([polling, Type.Null()]),
    spinNs: Type.Union([index, Type.Null()]),
    loadTimeoutMs: count,
    /** How long the lease lasts after it was last renewed or used. */
    ttlMs: duration,
    /** The lease ends when one of these counters is reached. */
    budget: Type.Partial(Usage),
    /** How long the request may wait for room, in line with others. Left out, not at all. */
    waitMs: Type.Optional(duration),
    /** How long its host may be stopped, or give no sign of life while calls are in flight. Left out, the node's rule. */
    hostTimeoutMs: Type.Optional(hostTimeout),
    /** What this node has offered the client that the lease takes, by the id of its place in line. Left out, nothing. */
    offer: Type.Optional(count),
    /** How long the host may wait for another lease of the module when this one is released. Left out, not at all. */
    keepWarmMs: Type.Optional(duration),
    /** Its functions may open connections. */
    network: Type.Optional(Type.Boolean()),
    /** Its functions may start programs. */
    processes: Type.Optional(Type.Boolean()),
    /** Variables of the environment that its functions find besides the node's. */
    env: Type.Optional(environment),
    /** For all that it has besides its registered memory. Left out, the node's rule. */
    heapBytes: Type.Optional(heapBytes),
    /** What it is for, on the bill. Left out, what its token says. */
    project: Type.Optional(project),
    /** The root of its file system, as the node's sandbox knows it. */
    image: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })),
    fabric,
    /** What travels must be encrypted. Left out, where the node wants it. */
    encrypt: Type.Optional(Type.Boolean()),
    /** Where the descriptors go, where client and workers share memory. */
    mailbox: Type.Union([bytes(5), Type.Null()]),
  },
  {
    lease: count,
    nonce: bytes(16),
    hostPid: count,
    exports: Exports,
    cpus,
    slots: count,
    polling,
    spinNs: index,
    /** Where the lease's host listens for its client, which shows the nonce; null where they share memory. */
    listening: Type.Union([Type.Object({ address: text, port: portNumber }), Type.Null()]),
    /** The port for data, of the host where the client has reached the node. Left out where that is the node's own port, or none. */
    dataPort: Type.Optional(portNumber),
    /** The host lets only a client in that encrypts. */
    encrypted: Type.Optional(Type.Boolean()),
    expiresInMs: Type.Number(),
    prewarmed: Type.Boolean(),
    /** Its host had loaded the module for a former lease. */
    kept: Type.Optional(Type.Boolean()),
    /** What it may have besides its registered memory. */
    heapBytes: Type.Optional(Type.Number({ minimum: 0 })),
    /** How long the request has waited for room here. Left out, not at all. */
    waitedMs: Type.Optional(Type.Number({ minimum: 0 })),
    grantNs: Type.Number(),
    spawnNs: Type.Number(),
    loadNs: Type.Number(),
  },
);
export type Allocate = FieldsOf<typeof Allocate>;
export type Granted = ReplyOf<typeof Allocate>;

/**
 * The client has a newer token of the same user, which counts for its leases from now on. The node asks for the proof of its holder before
 * it answers. To a node that can hear it.
 */
export const RenewToken = request(
  "renew-token",
  { token: Type.String({ maxLength: 4096 }) },
  /** For how long the token counts; null without end. */
  { expiresInMs: Type.Union([Type.Number(), Type.Null()]) },
);

/**
 * The client waits for room, here and at other nodes: a place in the node's line. The reply is an offer, which comes when it is the client's
 * turn: it takes it ({@link Allocate}), or passes ({@link Withdraw}) as it was served elsewhere. An offer of fewer workers than it wants grows:
 * the place stays, and the reply comes again. A place ends with its connection. Only to nodes that say that they {@link LINE | can}.
 */
export const WaitInLine = request(
  "wait-in-line",
  {
    /** Left out, any number of them from 1 on will do. */
    atLeast: Type.Optional(count),
    workers: count,
    coresPerWorker: cores,
    /** Of a lease, with the heap that it asks for. */
    memoryBytes: Type.Number({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }),
    waitMs: duration,
    /** How long the client waits already: it keeps its place among its user's requests where it joins the line anew. */
    waitedMs: Type.Number({ minimum: 0 }),
    /** When the request began, by the client's clock: by it, all nodes have requests in one order. */
    beganAtMs: Type.Optional(Type.Number({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
    /** How long the client may hold the offer. */
    holdMs: duration,
    /** The client needs more than this node may offer, all at once. */
    isPart: Type.Optional(Type.Boolean()),
  },
  {
    /** The id of the place. */
    offer: count,
    /** All together. */
    workers: count,
    holdMs: Type.Number({ minimum: 0 }),
    last: Type.Boolean(),
  },
);
export type WaitInLine = FieldsOf<typeof WaitInLine>;
export type Offered = ReplyOf<typeof WaitInLine>;
/** An older request needs the offer that the client holds for a part of its own. The client gives it back, unless it has all parts. */
export const Recall = notice("recall", { offer: count });
/** What a node says in its greeting that it can: {@link WaitInLine}. */
export const LINE = "line";

/** The client withdraws the request for a lease, or gives up the place in line or the offer, that has this id. */
export const Withdraw = notice("withdraw", { request: count });
/** The client has mapped or connected to the lease's memory and uses it. */
export const Redeem = notice("redeem", { lease: count });
export const Renew = request(
  "renew",
  { lease: count, ttlMs: Type.Union([duration, Type.Null()]) },
  /** What it has cost so far, should the node be lost; left out where the node does not say. */
  { expiresInMs: Type.Number(), usage: Type.Optional(Usage) },
);
/** Of a lease that is over, the last sums are `final`; a node keeps them for a while. */
export const GetUsage = request(
  "get-usage",
  { lease: count },
  { usage: Usage, final: Type.Optional(Type.Boolean()) },
);
export type UsageReply = ReplyOf<typeof GetUsage>;
/** Answered when the lease is over. */
export const Release = request("release", { lease: count }, {});
/** Aborts a call: tells its function that the caller no longer waits. */
export const Abort = notice("abort", {
  lease: count,
  worker: index,
  slot: index,
  sequence,
  /** Only tells the function; without it, the host replaces a thread whose function does not stop. */
  gently: Type.Optional(Type.Boolean()),
});

export const Lost = notice("lost", {
  lease: count,
  message: text,
  /** The signal that killed the lease's host, such as SIGSEGV. */
  signal: Type.Optional(text),
  /** The bound of the node that it has crossed. */
  excess: Type.Optional(Excess),
  /** Its client's own wish or right has ended it, and would end another one: nothing is to take its place. */
  final: Type.Optional(Type.Boolean()),
});
export const WorkerLost = notice("worker-lost", { lease: count, worker: index, message: text });
export const Revoking = notice("revoking", {
  lease: count,
  deadlineInMs: Type.Number(),
  message: text,
  /** Why, in one word; left out, as by a node that does not say. */
  cause: Type.Optional(Type.String({ maxLength: 64 })),
});
/** What was said of a revocation counts no more. To a client that has renewed its token. */
export const GoesOn = notice("goes-on", { lease: count, expiresInMs: Type.Number() });
export const Logged = notice("log", { lease: count, line: LogLine });
export const Progressed = notice("progress", { lease: count, report: ProgressReport });

/** What a client says to a node of leases. */
export const leaseMessages = [
  Allocate,
  WaitInLine,
  Withdraw,
  Redeem,
  Renew,
  GetUsage,
  Release,
  Abort,
  RenewToken,
] as const;
/** What a node says to a client of its leases, unasked. */
export const leaseNotices = [
  Lost,
  WorkerLost,
  Revoking,
  GoesOn,
  Recall,
  Logged,
  Progressed,
] as const;
