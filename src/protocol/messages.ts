/**
 * The control messages: their schemas, compiled once, and the version they belong to. Everything about leases, packages and
 * goodbyes travels as these; a call never does.
 */
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { MAX_CAUSES } from "../base/errors.ts";
import { count, index, sequence, text } from "./fields.ts";
import { AskLeases, Leases } from "./listing-messages.ts";
import {
  AskPackages,
  DropOffer,
  NeedsFiles,
  OfferPackage,
  PackageChunk,
  PackageProgress,
  PackageRefused,
  PackageRemoved,
  PackageStored,
  Packages,
  RemovePackage,
} from "./package-messages.ts";
import { Usage } from "./usage.ts";
import { Vocabulary } from "./vocabulary.ts";

/** Raised when a message changes in a way that an older peer would misread. */
export const PROTOCOL_VERSION = 5;
/** The most cores of a node, and so of a lease. */
export const MAX_LEASE_CORES = 1024;

const bytes = (length: number) => Type.Uint8Array({ minByteLength: length, maxByteLength: length });
/** At most a day; a lease is renewed, not long. */
const duration = Type.Integer({ minimum: 1, maximum: 86_400_000 });
/** Of a fabric; whoever uses it knows which there are. */
const fabric = Type.String({ maxLength: 64 });
const portNumber = Type.Integer({ minimum: 1, maximum: 65535 });
const cores = Type.Integer({ minimum: 1, maximum: MAX_LEASE_CORES });
/** Those of one worker side by side; negative where it is not pinned. */
const cpus = Type.Array(Type.Integer({ minimum: -1 }), { maxItems: MAX_LEASE_CORES });
const polling = Type.Union([Type.Literal("hot"), Type.Literal("warm"), Type.Literal("adaptive")]);

/** What a client must know of a function that is not raw, to call it. Its kind (`src/kinds/`) knows the rest, and checks it. */
const FunctionDescription = Type.Object({
  kind: text,
  input: Type.Unknown(),
  output: Type.Unknown(),
});
export type FunctionDescription = Static<typeof FunctionDescription>;

/** A function of a module, in the order of its index; what else it exports is named to explain a wrong name. */
export const Exports = Type.Object({
  functions: Type.Array(text, { maxItems: 0xffffe }),
  others: Type.Record(Type.String(), text),
  /** By name, those that are not raw. After all functions comes, hidden, the one that hands out results that did not fit. */
  described: Type.Optional(Type.Record(Type.String(), FunctionDescription)),
});
export type Exports = Static<typeof Exports>;

/** An error as data: what survives between processes. */
export interface ErrorRecord {
  name: string;
  message: string;
  code?: string | number;
  stack?: string;
  /** The error says that another try may succeed. */
  retryable?: boolean;
  cause?: ErrorRecord;
  /** Those that it has gathered, as an `AggregateError` does. */
  errors?: ErrorRecord[];
  /** Errors that are properties of it, by name. */
  held?: Record<string, ErrorRecord>;
  /** Its other properties. */
  own?: Record<string, unknown>;
  /** A value that did not validate. */
  invalid?: { functionName: string; side: "input" | "output"; path: string; problem: string };
  /** No failure: a result that did not fit, kept in the worker until it is fetched. */
  kept?: { ticket: number; bytes: number };
}

const errorRecord = (causes: number): TSchema =>
  Type.Object({
    name: text,
    message: text,
    code: Type.Optional(Type.Union([text, Type.Number()])),
    stack: Type.Optional(text),
    retryable: Type.Optional(Type.Boolean()),
    ...(causes > 0 ? { cause: Type.Optional(errorRecord(causes - 1)) } : {}),
    // Whoever makes an error of them looks at them again.
    errors: Type.Optional(Type.Unknown()),
    held: Type.Optional(Type.Unknown()),
    own: Type.Optional(Type.Unknown()),
    invalid: Type.Optional(
      Type.Object({
        functionName: text,
        side: Type.Union([Type.Literal("input"), Type.Literal("output")]),
        path: text,
        problem: text,
      }),
    ),
  });
/** Typed by hand: a schema that contains itself would be slower to compile. */
export const ErrorRecord = Type.Unsafe<ErrorRecord>(errorRecord(MAX_CAUSES));

const Hello = Type.Object({
  t: Type.Literal("hello"),
  protocol: count,
  version: text,
  pid: count,
  fabrics: Type.Array(text, { maxItems: 16 }),
  machine: text,
  /** Who asks, signed by a manager or the node's owner. */
  token: Type.Optional(Type.Union([Type.String({ maxLength: 4096 }), Type.Null()])),
});
const Allocate = Type.Object({
  t: Type.Literal("allocate"),
  id: count,
  /** `rfaas:NAME`, or `package:` and 64 hexadecimal digits. */
  module: text,
  /** The file that the package was made of, where the client has it. */
  origin: Type.Optional(text),
  workers: count,
  /** What its functions start runs on these, too. Left out, 1. */
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
  fabric,
  /** Where the descriptors go, where client and workers share memory. */
  mailbox: Type.Union([bytes(5), Type.Null()]),
});
/** The client does not want the lease any more that it has asked for with this `id`. */
const Withdraw = Type.Object({ t: Type.Literal("withdraw"), id: count });
/** The client has mapped or connected to the lease's memory and uses it. */
const Redeem = Type.Object({ t: Type.Literal("redeem"), lease: count });
const Renew = Type.Object({
  t: Type.Literal("renew"),
  lease: count,
  ttlMs: Type.Union([duration, Type.Null()]),
});
const AskUsage = Type.Object({ t: Type.Literal("ask-usage"), id: count, lease: count });
const Release = Type.Object({ t: Type.Literal("release"), lease: count });
const Cancel = Type.Object({
  t: Type.Literal("cancel"),
  lease: count,
  worker: index,
  slot: index,
  sequence,
  /** The function is only told; without it, a thread that goes on is replaced. */
  gently: Type.Optional(Type.Boolean()),
});
const AskStatus = Type.Object({ t: Type.Literal("ask-status"), id: count });

const Welcome = Type.Object({
  t: Type.Literal("welcome"),
  protocol: count,
  version: text,
  pid: count,
  cores: count,
  memoryBytes: Type.Number(),
  /** Those that this client can use. */
  fabrics: Type.Array(text, { maxItems: 16 }),
});
const Refused = Type.Object({ t: Type.Literal("refused"), code: text, message: text });
const Granted = Type.Object({
  t: Type.Literal("granted"),
  id: count,
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
  expiresInMs: Type.Number(),
  prewarmed: Type.Boolean(),
  grantNs: Type.Number(),
  spawnNs: Type.Number(),
  loadNs: Type.Number(),
});
const Denied = Type.Object({
  t: Type.Literal("denied"),
  id: count,
  code: text,
  message: text,
  error: Type.Optional(ErrorRecord),
});
const Lost = Type.Object({
  t: Type.Literal("lost"),
  lease: count,
  message: text,
  /** That killed the lease's host, such as SIGSEGV. */
  signal: Type.Optional(text),
});
const WorkerLostNote = Type.Object({
  t: Type.Literal("worker-lost"),
  lease: count,
  worker: index,
  message: text,
});
const Renewed = Type.Object({
  t: Type.Literal("renewed"),
  lease: count,
  expiresInMs: Type.Number(),
});
const Revoking = Type.Object({
  t: Type.Literal("revoking"),
  lease: count,
  deadlineInMs: Type.Number(),
  message: text,
});
const UsageNote = Type.Object({
  t: Type.Literal("usage"),
  id: count,
  /** Null when the lease is not one of this client's. */
  usage: Type.Union([Usage, Type.Null()]),
});
const Released = Type.Object({ t: Type.Literal("released"), lease: count });
/** A line that a function has logged. */
const logLine = {
  worker: index,
  level: Type.Union([
    Type.Literal("debug"),
    Type.Literal("info"),
    Type.Literal("warn"),
    Type.Literal("error"),
  ]),
  message: text,
  /** JSON. */
  data: Type.Union([text, Type.Null()]),
  atMs: Type.Number(),
  /** Lines of this worker before it that were too many. */
  dropped: index,
};
const LogLine = Type.Object(logLine);
export type LogLine = Static<typeof LogLine>;
/** How far a call has come, of its own account. */
const report = {
  worker: index,
  slot: index,
  sequence,
  fraction: Type.Number({ minimum: 0, maximum: 1 }),
  message: Type.Union([text, Type.Null()]),
  /** Reports of this call before it that came too fast. */
  dropped: index,
};
const ProgressReport = Type.Object(report);
export type ProgressReport = Static<typeof ProgressReport>;
const LogNote = Type.Object({ t: Type.Literal("log"), lease: count, line: LogLine });
const ProgressNote = Type.Object({
  t: Type.Literal("progress"),
  lease: count,
  report: ProgressReport,
});
const Draining = Type.Object({ t: Type.Literal("draining") });
const Status = Type.Object({
  t: Type.Literal("status"),
  id: count,
  freeCores: index,
  freeMemoryBytes: Type.Number(),
  leases: index,
  prewarmedHosts: index,
});

const Attach = Type.Object({
  t: Type.Literal("attach"),
  nonce: bytes(16),
  workers: count,
  coresPerWorker: cores,
  cpus,
  slots: count,
  polling,
  /** Where to listen for the client, and what the fabric knows of it; null where they share memory. */
  listen: Type.Union([
    Type.Object({ fabric, address: text, options: Type.Object({}) }),
    Type.Null(),
  ]),
  module: text,
  /** What its author calls the module. */
  moduleName: text,
  /** Names the lease, in what functions are told. */
  lease: count,
  heapBytes: Type.Number(),
  loadTimeoutMs: count,
});
const HostCancel = Type.Object({
  t: Type.Literal("host-cancel"),
  worker: index,
  slot: index,
  sequence,
  gently: Type.Boolean(),
});

const Detach = Type.Object({ t: Type.Literal("detach") });
/** Every worker goes over to another build of its module, when the calls that it runs have ended. */
const Reload = Type.Object({ t: Type.Literal("reload"), module: text, moduleName: text });

const Ready = Type.Object({ t: Type.Literal("ready"), protocol: count, mailbox: bytes(5) });
const Loaded = Type.Object({
  t: Type.Literal("loaded"),
  exports: Exports,
  loadNs: Type.Number(),
  port: Type.Union([portNumber, Type.Null()]),
  /** The module has something to do when the lease is released. */
  disposes: Type.Optional(Type.Boolean()),
});
/** All workers have gone over to the module of the last reload. */
const Reloaded = Type.Object({ t: Type.Literal("reloaded") });
const LoadFailed = Type.Object({ t: Type.Literal("load-failed"), code: text, error: ErrorRecord });
const ClientLost = Type.Object({ t: Type.Literal("client-lost"), message: text });
const WorkerEnded = Type.Object({ t: Type.Literal("worker-ended"), worker: index, message: text });
const HostLog = Type.Object({ t: Type.Literal("host-log"), line: LogLine });
const HostProgress = Type.Object({ t: Type.Literal("host-progress"), report: ProgressReport });

export type ClientMessage = Static<
  | typeof Hello
  | typeof Allocate
  | typeof Withdraw
  | typeof Redeem
  | typeof Renew
  | typeof AskUsage
  | typeof Release
  | typeof Cancel
  | typeof AskStatus
  | typeof AskLeases
  | typeof OfferPackage
  | typeof PackageChunk
  | typeof DropOffer
  | typeof AskPackages
  | typeof RemovePackage
>;
export type NodeMessage = Static<
  | typeof Welcome
  | typeof Refused
  | typeof Granted
  | typeof Denied
  | typeof Lost
  | typeof WorkerLostNote
  | typeof Renewed
  | typeof Revoking
  | typeof UsageNote
  | typeof LogNote
  | typeof ProgressNote
  | typeof Released
  | typeof Draining
  | typeof Status
  | typeof Leases
  | typeof NeedsFiles
  | typeof PackageProgress
  | typeof PackageStored
  | typeof PackageRefused
  | typeof Packages
  | typeof PackageRemoved
>;
export type AgentMessage = Static<
  typeof Attach | typeof HostCancel | typeof Detach | typeof Reload
>;
export type HostMessage = Static<
  | typeof Ready
  | typeof Loaded
  | typeof Reloaded
  | typeof LoadFailed
  | typeof WorkerEnded
  | typeof ClientLost
  | typeof HostLog
  | typeof HostProgress
>;
export type Granted = Static<typeof Granted>;
export type Allocate = Static<typeof Allocate>;
export type Attach = Static<typeof Attach>;
export type Status = Static<typeof Status>;
export type Welcome = Static<typeof Welcome>;

export const clientVocabulary = new Vocabulary<ClientMessage>([
  Hello,
  Allocate,
  Withdraw,
  Redeem,
  Renew,
  AskUsage,
  Release,
  Cancel,
  AskStatus,
  AskLeases,
  OfferPackage,
  PackageChunk,
  DropOffer,
  AskPackages,
  RemovePackage,
]);
export const nodeVocabulary = new Vocabulary<NodeMessage>([
  Welcome,
  Refused,
  Granted,
  Denied,
  Lost,
  WorkerLostNote,
  Renewed,
  Revoking,
  UsageNote,
  LogNote,
  ProgressNote,
  Released,
  Draining,
  Status,
  Leases,
  NeedsFiles,
  PackageProgress,
  PackageStored,
  PackageRefused,
  Packages,
  PackageRemoved,
]);
export const agentVocabulary = new Vocabulary<AgentMessage>([Attach, HostCancel, Detach, Reload]);
export const hostVocabulary = new Vocabulary<HostMessage>([
  Ready,
  Loaded,
  Reloaded,
  LoadFailed,
  WorkerEnded,
  ClientLost,
  HostLog,
  HostProgress,
]);
