/** The options of a test's worker and of its calls. */
import { type Static, Type } from "@sinclair/typebox";
import { LAYOUT, MAX_ARENA_BYTES } from "../../ffi/layout.ts";
import { SubmitOptions } from "../client/options/call-options.ts";
import { bytes, whole } from "../options/fields.ts";
import { MAX_LEASE_CORES } from "../protocol/fields.ts";

export const DEFAULT_MEMORY_BYTES = 16 * 1024 * 1024;
export const DEFAULT_OUTPUT_BYTES = 64 * 1024;

export const TestWorkerOptions = Type.Object(
  {
    /** What functions are told: which of the lease's workers this is. Default 0. */
    worker: Type.Optional(
      whole(0, LAYOUT.maxWorkers - 1, { description: "which worker this is", default: 0 }),
    ),
    /** What functions are told: how many workers the lease has. Default 1. */
    workers: Type.Optional(
      whole(1, LAYOUT.maxWorkers, { description: "how many workers there are", default: 1 }),
    ),
    /** How many cores functions are told that the worker has. Default 1. */
    cores: Type.Optional(
      whole(1, MAX_LEASE_CORES, { description: "how many cores the worker has", default: 1 }),
    ),
    /** Memory of the lease. Default 16 MiB. */
    memoryBytes: Type.Optional(
      bytes(1, MAX_ARENA_BYTES, {
        description: "memory of the lease",
        default: DEFAULT_MEMORY_BYTES,
      }),
    ),
  },
  { title: "A worker of a test", call: "testWorker(module, options)" },
);
export type TestWorkerOptions = Static<typeof TestWorkerOptions>;

export const TestCallOptions = Type.Object(
  {
    ...SubmitOptions.properties,
    /** Room for the result. Default 64 KiB. */
    outputBytes: Type.Optional(
      bytes(0, 2 ** 31 - 1, {
        description: "room for the result of this call",
        default: DEFAULT_OUTPUT_BYTES,
      }),
    ),
  },
  { title: "A call of a test", call: "worker.call(name, input, options)" },
);
export type TestCallOptions = Static<typeof TestCallOptions>;
