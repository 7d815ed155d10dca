/** The steps of a conformance test: what it does on one side, and how it waits until that has arrived on the other. */
import type { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import { STATUS } from "../../ffi/layout.ts";
import { IDLE, type WorkerEndpoint } from "../../ffi/worker-endpoint.ts";

/** Ask the worker to look once and come back. */
export const BRIEFLY = 1;
export const OUTPUT_AT = 32 * 1024;
const ARRIVAL_LIMIT_NS = 5e9;

/** What `look` says once it says anything else than `unless`. */
export function until<T>(look: () => T, unless: T): T {
  const startedNs = Bun.nanoseconds();
  for (;;) {
    const seen = look();
    if (seen !== unless) return seen;
    if (Bun.nanoseconds() - startedNs > ARRIVAL_LIMIT_NS) throw new Error(`it remains ${unless}`);
  }
}

/** Answers `slot`, unless -1, and waits until the next request has arrived. */
export function next(worker: WorkerEndpoint, slot = -1, length = 0): number {
  const found = worker.turn(slot, length, BRIEFLY);
  return found === IDLE ? until(() => worker.turn(-1, 0, BRIEFLY), IDLE) : found;
}

/** Waits until the response has arrived. */
export function result(client: ClientEndpoint, slot: number): number {
  return until(() => client.test(slot), STATUS.pending);
}
