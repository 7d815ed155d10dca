/** What a program can ask of a call, of many, and of one on each worker. */
import { type Static, Type } from "@sinclair/typebox";
import type { AnyDefinition } from "../../function/define-function.ts";
import {
  MAX_TIMER_MS,
  abortSignal,
  bytes,
  callback,
  limit,
  truth,
  whole,
} from "../../options/fields.ts";
import { quickCheck } from "../../options/quick-check.ts";

export const MAX_RETRIES = 1000;
/** Of one lease, on however many nodes. */
export const MAX_LEASE_WORKERS = 65_536;
/** Of one call; a lease has no more memory. */
export const MAX_INPUT_BYTES = 2 ** 32 - 1;
const MAX_OUTPUT_BYTES = 2 ** 31 - 1;
const MAX_CONCURRENCY = 2 ** 31 - 1;

/** The progress of a call, as its function reports it. */
export interface CallProgress {
  /** From 0 to 1. */
  fraction: number;
  message: string | undefined;
  worker: number;
  /** Reports before this one that came too fast to be sent. */
  dropped: number;
}

const timing = {
  /** Milliseconds after which the call ends with {@link DeadlineExceeded}. */
  deadlineMs: Type.Optional(
    limit({
      description: "how long a call may take, with all its attempts",
      otherwise: "no limit",
      flag: true,
    }),
  ),
  /**
   * How long the call is known to take, if it is. One that cannot end before its deadline, or before the lease does, is refused at
   * once. Where it is not said, a deadline stands for it on a lease that is being revoked; without either nothing can be known.
   */
  durationMs: Type.Optional(
    Type.Number({
      minimum: 0,
      maximum: MAX_TIMER_MS,
      unit: "ms",
      description: "how long the call is known to take",
      errorMessage: `must be a number of milliseconds from 0 to ${MAX_TIMER_MS}`,
    }),
  ),
};

const placing = {
  /** Which worker to use; default: the least loaded. */
  worker: Type.Optional(
    whole(0, MAX_LEASE_WORKERS - 1, {
      description: "which of the lease's workers to use",
      otherwise: "the least loaded",
    }),
  ),
};

const repeating = {
  /**
   * How often the call may be submitted again, on another worker where there is one: when its function failed with
   * `retryable: true`, or when its worker was lost. A lost worker may have run the function, so only for one that may run twice.
   * A deadline covers all attempts. Default 0.
   */
  retries: Type.Optional(
    whole(0, MAX_RETRIES, {
      description: "how often a failed call is made again",
      default: 0,
      flag: true,
    }),
  ),
};

const healing = {
  /**
   * The call may run more than once: when its worker is lost, before or after it has run, it is made again by another one, and on a lease that
   * replaces what it loses (`onLoss: "replace"`) it waits for that. Losses do not count as `retries`. Default false.
   */
  idempotent: Type.Optional(
    truth({
      description: "make the call again when its worker is lost",
      default: false,
      flag: true,
    }),
  ),
};

const ending = {
  /**
   * Aborts the call: it ends at once, with the signal's reason, and its function is told. A function that ignores the abort keeps
   * its slot and its buffers until it returns.
   */
  signal: Type.Optional(abortSignal({ description: "aborts the call" })),
};

const reporting = {
  /** Receives what the function reports with `ctx.progress`, while the event loop turns. */
  onProgress: Type.Optional(
    callback<(progress: CallProgress) => void>({
      description: "receives the progress of the call",
    }),
  ),
};

/** Of a call that blocks its caller. */
export const InvokeOptions = Type.Object(
  { ...timing, ...placing },
  {
    title: "A call that is waited for on the spot",
    call: "lease.invoke(name, input, output, options)",
  },
);
export type InvokeOptions = Static<typeof InvokeOptions>;
export const checkInvokeOptions = quickCheck("invoke", InvokeOptions);

const submitting = {
  ...timing,
  ...placing,
  ...ending,
  /** Fill in {@link Call.timings}. */
  timings: Type.Optional(
    truth({ description: "tell where the time of the call went", default: false, flag: true }),
  ),
  ...repeating,
  ...healing,
  ...reporting,
};

export const SubmitOptions = Type.Object(submitting, {
  title: "A call in flight",
  call: "lease.submit(name, input, output, options)",
});
export type SubmitOptions = Static<typeof SubmitOptions>;
export const checkSubmitOptions = quickCheck("the call", SubmitOptions);

const settling = {
  /** Failures of calls are items, or places of the result, instead of the end of all. Default false. */
  settled: Type.Optional(truth({ description: "failures as items", default: false })),
};

export const SubmitManyOptions = Type.Object(
  { ...timing, ...placing, ...ending, ...repeating, ...healing, ...settling },
  {
    title: "Many calls in flight",
    call: "lease.submitMany(name, inputs, outputs, options)",
  },
);
export type SubmitManyOptions = Static<typeof SubmitManyOptions>;
export const checkSubmitManyOptions = quickCheck("submitMany", SubmitManyOptions);

const room = (description: string, otherwise?: string) =>
  bytes(0, MAX_OUTPUT_BYTES, { description, ...(otherwise === undefined ? {} : { otherwise }) });

const mapping = {
  ...timing,
  ...repeating,
  ...healing,
  ...ending,
  /** Calls in flight on all workers together. Default: 64 per worker, or its slots. Fewer where the lease's memory holds no more. */
  concurrency: Type.Optional(
    whole(1, MAX_CONCURRENCY, {
      description: "calls in flight on all workers together",
      otherwise: "64 a worker, or its slots",
    }),
  ),
  /** Whether results come in the order of the inputs, else as they finish. Default true. */
  ordered: Type.Optional(truth({ description: "results in the order of inputs", default: true })),
  ...settling,
};

export const MapOptions = Type.Object(mapping, {
  title: "Many calls on values",
  call: "fn.map(values, options)",
});
export type MapOptions = Static<typeof MapOptions>;

export const RawMapOptions = Type.Object(
  {
    ...mapping,
    /** Inputs that are copied: room for one result. Default: as much as its input has. */
    outputBytes: Type.Optional(
      room("room for the result of an input that is copied", "as much as its input has"),
    ),
  },
  { title: "Many calls on buffers", call: "lease.map(name, inputs, options)" },
);
export type RawMapOptions = Static<typeof RawMapOptions>;

/** The functions' own types depend on the values, so {@link CodecMapOptions} says them. */
export const CodecMapOptions = Type.Object(
  {
    ...mapping,
    inputBytes: Type.Union([room(""), callback<(value: never) => number>({ description: "" })], {
      description: "room for the input of one value",
      errorMessage: `must be a whole number of bytes from 0 to ${MAX_OUTPUT_BYTES}, or a function that says it of a value`,
    }),
    outputBytes: room("room for the result of one value"),
    write: callback<(value: never, input: never) => number | void>({
      description: "puts a value into the input",
    }),
    read: callback<(output: never, value: never, index: number) => unknown>({
      description: "takes the result out of the output",
    }),
  },
  { title: "Many calls on values of your own encoding", call: "lease.map(name, values, options)" },
);

/** How values become inputs, and outputs results. */
export interface CodecMapOptions<Value, Result> extends MapOptions {
  /** Room for the input of one value. */
  inputBytes: number | ((value: Value) => number);
  /** Room for the result of one value. */
  outputBytes: number;
  /** Writes a value into the input; returns how many bytes it takes, if not all. Must not touch the input after it returns. */
  write(value: Value, input: Uint8Array<ArrayBuffer>): number | void;
  /** Reads the result from the bytes that the function wrote; the next call overwrites them as soon as `read` has returned. */
  read(output: Uint8Array<ArrayBuffer>, value: Value, index: number): Result;
}

export const BroadcastOptions = Type.Object(
  {
    ...timing,
    ...ending,
    /** Room for the result of one worker. Default: as much as the input has. */
    outputBytes: Type.Optional(
      room("room for the result of one worker", "as much as the input has"),
    ),
  },
  { title: "One call on each worker", call: "lease.broadcast(name, input, options)" },
);
export type BroadcastOptions = Static<typeof BroadcastOptions>;

/** For a function on values or structs. */
export const ValueBroadcastOptions = Type.Object(
  { ...timing, ...ending, ...reporting },
  { title: "One call on each worker, on a value", call: "fn.broadcast(value, options)" },
);
export type ValueBroadcastOptions = Static<typeof ValueBroadcastOptions>;

/** Options of a handle. The schema takes any definition: only `defineFunction` makes one. */
export const FunctionOptions = Type.Object(
  {
    definition: Type.Optional(
      Type.Unsafe<AnyDefinition>(
        Type.Unknown({
          description: "the function's own definition, which checks values before they are sent",
          errorMessage: "must be what `defineFunction` returned",
        }),
      ),
    ),
  },
  { title: "A handle for a function on values", call: "lease.function(name, options)" },
);
