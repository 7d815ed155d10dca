/** The errors of calls whose worker is gone. */
import { END } from "../../../ffi/layout.ts";
import { WorkerLost } from "../../base/errors.ts";
import { describeEnd, signalName } from "./remote-error.ts";

/** `reason` is one of `END`, `detail` an exit code or a signal's number. */
export const workerLoss = (worker: number, reason: number, detail: number): WorkerLost =>
  new WorkerLost(
    worker,
    `worker ${worker} is lost: ${describeEnd(reason, detail)}; take a new lease`,
    { signal: reason === END.signalled ? signalName(detail) : undefined },
  );

export const workerRestarted = (worker: number): WorkerLost =>
  new WorkerLost(
    worker,
    `worker ${worker} was restarted because a call did not end by its deadline; the calls it had begun are lost, call again`,
  );
