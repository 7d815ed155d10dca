/** What the roles say to each other: with the manager the real messages, between clients and nodes what the lease protocol needs. */
import type { LimitReached } from "../../src/base/errors.ts";
import type { Limits } from "../../src/lease/quota.ts";
import type { ManagerSays, ManagerToNode, ToManager } from "../../src/protocol/manager-messages.ts";

export type ToNode =
  | {
      t: "allocate";
      id: number;
      workers: number;
      coresPerWorker: number;
      memoryBytes: number;
      ttlMs: number;
      user: string;
      weight: number;
      /** What the token says. */
      claims: Limits;
      offer: number | undefined;
    }
  | {
      t: "wait-in-line";
      id: number;
      workers: number;
      atLeast: number;
      coresPerWorker: number;
      memoryBytes: number;
      waitMs: number;
      waitedMs: number;
      beganAtMs: number;
      holdMs: number;
      isPart: boolean;
      user: string;
      weight: number;
      claims: Limits;
    }
  /** The client does not want it any more. */
  | { t: "withdraw"; id: number }
  | { t: "redeem"; lease: number }
  | { t: "renew"; lease: number; ttlMs: number | null }
  | { t: "release"; lease: number }
  | { t: "ask-status"; id: number };

export type ToHolder =
  | { t: "granted"; id: number; lease: number; host: HostDoor; expiresInMs: number }
  | { t: "denied"; id: number; code: string; message: string; limit?: LimitReached | undefined }
  | { t: "offered"; id: number; workers: number; last: boolean }
  | { t: "recall"; id: number }
  | { t: "renewed"; lease: number; expiresInMs: number }
  | { t: "revoking"; lease: number; deadlineInMs: number }
  | { t: "lost"; lease: number; message: string }
  | { t: "released"; lease: number }
  | { t: "status"; id: number; freeCores: number; freeMemoryBytes: number; leases: number };

/** Reports are saved: in which ledger is not said in truth, the witness reads it. */
export type Saved = Extract<ManagerToNode, { t: "report-usage-reply" }> & { ledger: number };

export type Message = ToNode | ToHolder | ToManager | ManagerSays | Saved;

/** The memory through which a client calls: no message is sent for a call. */
export interface HostDoor {
  /** False when nobody is behind it any more. */
  call(calls: number, executionNs: number): boolean;
}
