/** Which worker gets a call. */
import { noSuchWorker } from "../failures/no-such-worker.ts";
import type { WorkerLane } from "./worker-lane.ts";

export class Picking {
  readonly #lanes: readonly WorkerLane[];
  #turn = 0;

  constructor(lanes: readonly WorkerLane[]) {
    this.#lanes = lanes;
  }

  /** The worker that the call names, else the least loaded, in turn among equals. Throws `UsageError` for an unknown one. */
  pick(worker: number | undefined): WorkerLane {
    const lanes = this.#lanes;
    if (worker !== undefined) {
      const first = lanes[0]!.number;
      const lane = lanes[worker - first];
      if (!lane) throw noSuchWorker(worker, first, lanes.length);
      return lane;
    }
    if (lanes.length === 1) return lanes[0]!;
    let best: WorkerLane | undefined;
    for (let i = 0; i < lanes.length; i++) {
      const lane = lanes[(this.#turn + i) % lanes.length]!;
      if (lane.lost !== undefined) continue;
      if (best === undefined || lane.load < best.load) best = lane;
    }
    if (best === undefined) return lanes[0]!;
    this.#turn = best.index + 1;
    return best;
  }

  /** For another attempt: the least loaded of the others, the same one when it is the only one left, or none. */
  pickAfter(failed: number): WorkerLane | undefined {
    const alive = this.#lanes.filter((lane) => lane.lost === undefined && !lane.endpoint.lost());
    const others = alive.filter((lane) => lane.number !== failed);
    return (others.length > 0 ? others : alive).reduce<WorkerLane | undefined>(
      (best, lane) => (best === undefined || lane.load < best.load ? lane : best),
      undefined,
    );
  }
}
