/**
 * What happened in a run, as lines of JSON: what clients were told of their calls, what functions say that they have done, what was billed,
 * and which faults there were. Each actor writes a file of its own, line by line, so that a kill loses none that came before it.
 */

/** Of one call, from one of its clients: it has a result, has not run, may have run, or none of these can be told of it. */
export type Outcome = "result" | "did-not-run" | "may-have-run" | "unexplained";

/** `t` is in milliseconds of the machine's clock; `by` is who says it. */
interface Said {
  t: number;
  by: string;
}

/** A client process is known by a number of its own, which no other one of the run has, and so is each of its calls within it. */
export interface ClientStarted extends Said {
  e: "client";
  client: number;
  kind: string;
  version: string;
}

/** The client asks for a lease; `project` names it on the bill, and in no other lease. */
export interface LeaseAsked extends Said {
  e: "ask";
  client: number;
  project: string;
  workers: number;
}

export interface LeasePartSeen {
  node: string;
  workers: number;
  fabric: string;
  /** When it came, where it took the place of another one. */
  t?: number;
}

export interface LeaseTaken extends Said {
  e: "lease";
  project: string;
  parts: LeasePartSeen[];
}

/** A part that has come in the place of workers that were lost. */
export interface PartReplaced extends Said {
  e: "replaced";
  project: string;
  part: LeasePartSeen;
}

/** No lease came of it. */
export interface LeaseRefused extends Said {
  e: "no-lease";
  project: string;
  code: string;
  message: string;
}

/** For so long a disk does not answer, at most. */
export const FROZEN_MS = 2500;

/** What the client has done with it last; `usage` are the calls that the node has told of it, where it did. */
export interface LeaseOver extends Said {
  e: "lease-over";
  project: string;
  how: string;
}

export interface CallMade extends Said {
  e: "call";
  client: number;
  call: number;
  project: string;
  kind: string;
  /** It may be run more than once. */
  idempotent?: boolean;
}

export interface CallEnded extends Said {
  e: "end";
  client: number;
  call: number;
  outcome: Outcome;
  /** Of a result: whether it is what the function answers for this call. */
  right?: boolean;
  code?: string;
  message?: string;
}

/** The client ends as it was told to: it waits for no call any more. */
export interface ClientDone extends Said {
  e: "done";
  client: number;
}

/** A function has run for this call. */
export interface Effect extends Said {
  e: "effect";
  client: number;
  call: number;
}

/** A process of the run has ended; `meant` says that it was told to, or killed on purpose. */
export interface Exited extends Said {
  e: "exit";
  who: string;
  client?: number;
  meant: boolean;
  code: number | null;
  signal: string | null;
  /** The end of its log, where it was not meant to end. */
  log?: string;
}

export interface Fault extends Said {
  e: "fault";
  fault: string;
  target: string;
  detail?: string;
}

/** How often a manager has begun to lead, in all. */
export interface Takeovers extends Said {
  e: "takeovers";
  count: number;
}

/** A node or a manager starts, of this version. */
export interface Started extends Said {
  e: "start";
  who: string;
  version: string;
}

/** There are no more faults: from now on everything must come right. */
export interface Calm extends Said {
  e: "calm";
}

/** A process did not do within `limitMs` what it was told to. */
export interface Stuck extends Said {
  e: "stuck";
  who: string;
  what: string;
}

/** Where bills are besides ledgers. */
export const ETCD = "etcd";

/** What a ledger has of a lease at the end. */
export interface Billed extends Said {
  e: "bill";
  /** Of which manager, or {@link ETCD}; left out where there is one manager alone. */
  ledger?: string;
  project: string;
  lease: string;
  node: string;
  user: string;
  workers: number;
  startedAtMs: number;
  endedAtMs: number | null;
  reason: string | null;
  presumed: boolean;
  coreNs: number;
  calls: number;
}

/** Something that is left when all processes of the run have ended. */
export interface Left extends Said {
  e: "left";
  what: string;
}

export type Happened =
  | ClientStarted
  | LeaseAsked
  | LeaseTaken
  | PartReplaced
  | LeaseRefused
  | LeaseOver
  | CallMade
  | CallEnded
  | ClientDone
  | Effect
  | Exited
  | Fault
  | Takeovers
  | Started
  | Calm
  | Stuck
  | Billed
  | Left;

export type History = readonly Happened[];

/** Reads lines of events; the last line of who was killed may be cut. */
export function parseHistory(text: string): Happened[] {
  return text.split("\n").flatMap((line) => {
    try {
      return line === "" ? [] : [JSON.parse(line) as Happened];
    } catch {
      return [];
    }
  });
}
