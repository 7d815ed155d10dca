/** Builds from a grant and its memory what calls need: a lane for each worker, memory, and the reactor that completes calls. */
import { SYSTEM_CLOCK } from "../../base/clock.ts";
import type { Attachment } from "../../fabric/attachment.ts";
import type { Granted } from "../../protocol/lease-messages.ts";
import { FunctionTable } from "../calls/function-table.ts";
import { Reactor } from "../calls/reactor.ts";
import type { LeaseCore } from "../calls/submission.ts";
import { LIKELY, WorkerLane } from "../calls/worker-lane.ts";
import { LeaseMemory } from "../memory/lease-memory.ts";
import type { NodeConnection } from "../node/connection.ts";
import { LeaseTerm } from "./term.ts";

/** The grant, and the options of its request. */
export interface Grant {
  readonly node: NodeConnection;
  readonly module: string;
  readonly granted: Granted;
  readonly ttlMs: number;
  readonly attachment: Attachment;
}

/** Looks of a reactor that sleeps, four a second, between two questions to the node. */
const LOOKS_PER_QUESTION = 4;

/** The core of a lease; `numbering` gives the number of its first worker. */
export function coreOf(
  { node, module, granted, ttlMs, attachment }: Grant,
  numbering: { readonly firstWorker: number },
): LeaseCore & { term: LeaseTerm } {
  const { lease, expiresInMs } = granted;
  const losses: LeaseCore["losses"] = {};
  const term = new LeaseTerm(node, lease, ttlMs, expiresInMs, SYSTEM_CLOCK, losses);
  const waitsOn = askingAfter(term);
  const reactor = new Reactor({
    harvest: (quickly) =>
      lanes.reduce((ended, lane) => ended + lane.harvest(quickly ? LIKELY : undefined), 0),
    park: () => lanes.forEach((lane) => lane.endpoint.park()),
    unpark: () => lanes.forEach((lane) => lane.endpoint.unpark()),
    endStranded: () => {
      waitsOn();
      return lanes.filter((lane) => lane.endStranded()).length > 0;
    },
  });
  const owner = {
    numbering,
    reactor,
    losses,
    heapBytes: granted.heapBytes ?? 0,
    abort: (worker: number, slot: number, sequence: number, gently: boolean) =>
      node.abort(lease, worker, slot, sequence, gently),
    ended: () => attachment.region.ended(),
    disconnected: (worker: number) => attachment.lost(worker),
  };
  const lanes: readonly WorkerLane[] = attachment.endpoints.map(
    (endpoint, worker) => new WorkerLane(worker, endpoint, granted.slots, owner),
  );
  return {
    lanes,
    losses,
    slots: granted.slots,
    functions: new FunctionTable(module, granted.exports),
    memory: new LeaseMemory(attachment.region, attachment),
    reactor,
    term,
  };
}

/**
 * A call waits: from time to time the node is asked what the lease has cost so far. It looks whether the host is there then, which it does
 * not see of calls that wait in a network; and the answer is known should the node be lost.
 */
function askingAfter(term: LeaseTerm): () => void {
  let looks = 0;
  let asks = false;
  return () => {
    if (asks || ++looks % LOOKS_PER_QUESTION !== 0) return;
    asks = true;
    term
      .usage()
      .catch(() => {})
      .finally(() => (asks = false));
  };
}
