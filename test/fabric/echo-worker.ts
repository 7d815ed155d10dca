/**
 * The loop of a worker's process in the conformance tests. Function 0 echoes after a pause that differs from call to call;
 * function 1 never answers; function 2 tells how often the worker slept, and how often it should have been woken but was not;
 * function 3 how often it has given up its fence, after posts without a wake-up as many as `patience` says.
 */
import {
  FUNCTION_MASK,
  REQUEST,
  STOPPED,
  type WorkerControl,
  WorkerEndpoint,
} from "../../ffi/worker-endpoint.ts";
import { payloads } from "./conformance-payloads.ts";

/** Runs until stopped; `ready` is called before. */
export function echo(
  control: WorkerControl,
  slots: number,
  arena: ArrayBuffer,
  ready: () => void,
  patience?: number,
): void {
  const worker = new WorkerEndpoint(control.handle, slots);
  worker.setFunctionCount(4);
  if (patience !== undefined) worker.setPatience(patience);
  ready();
  let calls = 0;
  for (let slot = -1, length = 0; slot !== STOPPED;) {
    slot = worker.turn(slot, length, 0);
    if (slot < 0) continue;
    const fn = worker.requests[slot * worker.slotWords + REQUEST.function]! & FUNCTION_MASK;
    if (fn === 1) {
      worker.defer(slot);
      slot = -1;
      continue;
    }
    const [input, output] = payloads(worker, arena, slot);
    if (fn === 2) {
      const { count, late } = worker.sleeps();
      new Uint32Array(output.buffer as ArrayBuffer, output.byteOffset, 2).set([count, late]);
      length = 8;
      continue;
    }
    if (fn === 3) {
      new DataView(output.buffer, output.byteOffset).setUint32(0, worker.declared(), true);
      length = 4;
      continue;
    }
    output.set(input);
    length = input.length;
    const spins = (Math.imul(++calls, 0x9e3779b1) >>> 18) & (calls % 128 === 0 ? 0x3fff : 0x3f);
    for (let n = 0; n < spins; n++) Math.sqrt(n);
  }
}
