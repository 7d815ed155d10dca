/** What a worker's lane needs of its lease. */
import type { RfaasError } from "../../base/errors.ts";
import type { Losses } from "../failures/advice.ts";
import type { Reactor } from "./reactor.ts";

export interface LaneOwner {
  /** The lease's workers are numbered over all of its parts. */
  readonly numbering: { readonly firstWorker: number };
  reactor: Reactor;
  readonly losses: Losses;
  /** What the lease may have besides its registered memory; 0 where its node does not say. */
  readonly heapBytes: number;
  /** Tells the node that the caller no longer waits for a call. */
  abort(worker: number, slot: number, sequence: number, gently: boolean): void;
  /** Why the lease ended, as far as its memory knows. */
  ended(): [reason: number, detail: number];
  /** Why the way to a worker is lost, as far as the fabric knows. */
  disconnected(worker: number): RfaasError | undefined;
}
