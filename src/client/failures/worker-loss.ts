/** The errors of calls whose worker is gone. */
import { END } from "../../../ffi/layout.ts";
import { OutOfMemory, WorkerLost } from "../../base/errors.ts";
import { type Excess, describeExcess, unpackExcess } from "../../protocol/ends/excess.ts";
import { describeEnd, signalName } from "./remote-error.ts";

/** What a program can tell apart of a loss: the signal that killed the lease's host, or the bound of the node that it has crossed. */
export interface LossCause {
  signal?: string | undefined;
  excess?: Excess | undefined;
  /** Another lease in its place would end as it did. */
  final?: boolean | undefined;
}

/** `reason` is one of `END`, `detail` an exit code, a signal's number, or what was used. */
export function workerLoss(
  worker: number,
  reason: number,
  detail: number,
  heapBytes: number,
): WorkerLost {
  const excess = reason === END.overLimit ? unpackExcess(detail, heapBytes) : undefined;
  const why = excess ? describeExcess(excess) : describeEnd(reason, detail);
  const signal = reason === END.signalled ? signalName(detail) : undefined;
  return lossFor(worker, `worker ${worker} is lost: ${why}; take a new lease`, { excess, signal });
}

/** The error of one worker. */
export function lossFor(worker: number, message: string, cause: LossCause): WorkerLost {
  const { excess, signal } = cause;
  if (excess?.what !== "heap") return new WorkerLost(worker, message, { signal });
  const { used: usedBytes, bound: heapBytes } = excess;
  return new OutOfMemory(worker, { heapBytes, usedBytes }, message);
}

export const workerRestarted = (worker: number): WorkerLost =>
  new WorkerLost(
    worker,
    `worker ${worker} was restarted because a call did not end by its deadline; the calls it had begun are lost, call again`,
  );
