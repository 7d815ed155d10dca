/** What the roles say to each other in the simulation: what the lease protocol needs of the real messages. */
import type { Announcement, CapacityReport } from "../../src/manager/nodes/registry.ts";
import type { NodeInfo, UsageReport } from "../../src/protocol/manager-messages.ts";

export type ToNode =
  | {
      t: "allocate";
      id: number;
      workers: number;
      coresPerWorker: number;
      memoryBytes: number;
      ttlNs: number;
    }
  /** The client wants no answer any more. */
  | { t: "abandon"; id: number }
  | { t: "redeem"; lease: number }
  | { t: "renew"; lease: number; ttlNs: number }
  | { t: "release"; lease: number }
  | { t: "accepted" }
  | { t: "refused"; code: string }
  /** `ledger` is not said in truth; it tells the simulation which ledger has it. */
  | { t: "usage-saved"; batch: number; ledger: number }
  | { t: "drain"; deadlineMs: number }
  | { t: "resume" };

export type ToClient =
  | { t: "granted"; id: number; lease: number; host: HostDoor; free: FreeCapacity }
  | { t: "denied"; id: number; free: FreeCapacity }
  | { t: "revoking"; lease: number; leftNs: number }
  | { t: "lost"; lease: number }
  | { t: "nodes"; nodes: readonly NodeInfo[] }
  | { t: "nodes-changed"; nodes: readonly NodeInfo[]; gone: readonly string[] };

export type ToManager =
  | { t: "announce"; announcement: Announcement; settling: boolean }
  | { t: "capacity"; capacity: CapacityReport }
  | { t: "usage"; batch: number; reports: readonly UsageReport[] }
  | { t: "leaving" }
  | { t: "subscribe" };

export type Message = ToNode | ToClient | ToManager;

/** What a node says of itself with each answer. */
export interface FreeCapacity {
  freeCores: number;
  freeMemoryBytes: number;
  open: boolean;
}

/** The memory through which a client calls: no message is sent for a call. */
export interface HostDoor {
  /** False when nobody is behind it any more. */
  call(calls: number, executionNs: number): boolean;
}
