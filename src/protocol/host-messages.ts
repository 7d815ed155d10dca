/** The messages between an agent and the host of one of its leases, over the host's descriptor 3. */
import { Type } from "@sinclair/typebox";
import {
  type FieldsOf,
  type MessageOf,
  type ReplyOf,
  type Speech,
  notice,
  request,
  vocabularyOf,
} from "./declare.ts";
import {
  cores,
  count,
  cpus,
  fabric,
  hex,
  index,
  polling,
  portNumber,
  sequence,
  text,
} from "./fields.ts";
import { JSON_TEXT } from "./frames/json-text.ts";
import { Exports, LogLine, ProgressReport } from "./module-report.ts";

/** Answered when all workers have loaded the module; failed with the error of the one that has not. */
export const Attach = request(
  "attach",
  {
    nonce: hex(16),
    workers: count,
    coresPerWorker: cores,
    cpus,
    slots: count,
    polling,
    /** Where to listen for the client, and what the fabric knows of it; null where they share memory. */
    listen: Type.Union([
      Type.Object({
        fabric,
        address: text,
        options: Type.Object({}),
        encrypt: Type.Optional(Type.Boolean()),
      }),
      Type.Null(),
    ]),
    module: text,
    /** What its author calls the module. */
    moduleName: text,
    /** Names the lease, in what functions are told. */
    lease: count,
    /** Private memory that the process may add, by its own limit: more than the node lets it have, by which the node ends the lease. */
    heapBytes: Type.Number(),
    loadTimeoutMs: count,
    /** The host may be asked to {@link Rest}. */
    keepWarm: Type.Boolean(),
  },
  {
    exports: Exports,
    loadNs: Type.Number(),
    port: Type.Union([portNumber, Type.Null()]),
    /** The module has something to do when the lease is released. */
    disposes: Type.Optional(Type.Boolean()),
  },
);
export type Attach = FieldsOf<typeof Attach>;
export type Loaded = ReplyOf<typeof Attach>;

/**
 * Before {@link Attach}, where the node gives each user a uid: the host becomes that user, all of whose processes have so many threads at
 * most. One that cannot ends.
 */
export const Become = notice("become", { uid: count, tasks: count });
export type Become = FieldsOf<typeof Become>;

/**
 * Every worker goes over to another build of its module, when the calls that it runs have ended. Answered when all have gone over
 * to the newest build.
 */
export const Reload = request("reload", { module: text, moduleName: text }, {});
/**
 * The lease is over, and another one of the same module and shape may come: the workers stop, the host looks for what functions have left
 * behind, and goes over to the memory of the next lease, which comes with the nonce. When something is left, or the memory cannot be
 * had, it says so, and is to be told to detach. Else its workers wait for {@link Resume}.
 */
export const Rest = request("rest", { nonce: hex(16) }, { left: Type.Union([text, Type.Null()]) });
/**
 * To each worker of a host at rest: it runs the calls of the next lease. A line of JSON over the worker's own socket: the host's main
 * thread, which hears of it from the worker, is in no call's way.
 */
export interface Resume {
  lease: number;
  /** The lease's cores. */
  cpus: number[];
  /** Where the worker's thread runs from then on; anywhere when empty. */
  mask: number[];
  loadTimeoutMs: number;
}
export const HostAbort = notice("host-abort", {
  worker: index,
  slot: index,
  sequence,
  gently: Type.Boolean(),
});
/** A connection of the lease's client has come to the node's port: its descriptor is in the mailbox, with the lease's nonce. */
export const Brought = notice("brought", { greeting: hex(64) });
/** The lease ends then, however it is used. */
export const EndsIn = notice("ends-in", { leftMs: Type.Number() });
export const Detach = notice("detach", {});

export const Ready = notice("ready", { protocol: count });
export const ClientLost = notice("client-lost", { message: text });
export const WorkerEnded = notice("worker-ended", { worker: index, message: text });
export const HostLog = notice("host-log", { line: LogLine });
/** A function has met a rule of its room. */
export const Denied = notice("denied", { rule: text });
export const HostProgress = notice("host-progress", { report: ProgressReport });

export const agentMessages = [
  ...[Attach, Reload, Rest, HostAbort, Brought, EndsIn, Detach, Become],
] as const;
export const hostMessages = [
  Ready,
  ClientLost,
  WorkerEnded,
  HostLog,
  Denied,
  HostProgress,
] as const;

export type AgentMessage = Speech<typeof agentMessages, typeof hostMessages>;
export type HostMessage = Speech<typeof hostMessages, typeof agentMessages>;
/** What a host says unasked. */
export type HostNotice = MessageOf<(typeof hostMessages)[number]>;
export const agentVocabulary = vocabularyOf(agentMessages, hostMessages, JSON_TEXT);
export const hostVocabulary = vocabularyOf(hostMessages, agentMessages, JSON_TEXT);
