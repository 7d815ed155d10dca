/** How a worker finds the payloads of a request. */
import {
  INPUT_INLINE,
  OUTPUT_INLINE,
  REQUEST,
  SCRATCH_OUTPUT,
  type WorkerEndpoint,
} from "../../ffi/worker-endpoint.ts";

/** Where a request's payloads are for the worker: in the arena, or beside the header. */
export function payloads(
  worker: WorkerEndpoint,
  arena: ArrayBuffer,
  slot: number,
): [Uint8Array, Uint8Array] {
  const base = slot * worker.slotWords;
  const word = (field: number) => worker.requests[base + field]!;
  const flags = word(REQUEST.function);
  const input =
    flags & INPUT_INLINE ? [worker.scratch, 4 * base] : [arena, word(REQUEST.inputOffset)];
  const output =
    flags & OUTPUT_INLINE
      ? [worker.scratch, 4 * base + SCRATCH_OUTPUT]
      : [arena, word(REQUEST.outputOffset)];
  return [
    new Uint8Array(input[0] as ArrayBuffer, input[1] as number, word(REQUEST.inputLength)),
    new Uint8Array(output[0] as ArrayBuffer, output[1] as number, word(REQUEST.outputCapacity)),
  ];
}
