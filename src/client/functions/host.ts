import type { Call } from "../calls/call.ts";
import type { LeaseMemory } from "../memory/lease-memory.ts";
import type { InvokeOptions, SubmitOptions } from "../options/call-options.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a handle needs of its lease. */
export interface FunctionHost {
  memory: LeaseMemory;
  workers: number;
  /** The number of the first of them. */
  firstWorker: number;
  /** Calls in flight per worker. */
  slots: number;
  /** The least loaded. */
  nextWorker(): number;
  invoke(input: Bytes, output: Bytes, options?: InvokeOptions): number;
  submit(input: Bytes, output: Bytes, options?: SubmitOptions): Call;
  /** Calls the hidden function that hands out results that did not fit, before all calls that wait. */
  fetch(input: Bytes, output: Bytes, options: SubmitOptions & { worker: number }): Call;
  /** Calls `listener` when no more calls can be made. Returns what ends that. */
  onOver(listener: () => void): () => void;
  /** Whether the worker may still use the buffers of an abandoned call. */
  holds(call: Call): boolean;
}
