/** What `map` takes and yields, and the terms on which it runs. */
import type { LeaseBuffer, TypedArray } from "../memory/lease-memory.ts";
import { wholeDeadline } from "../calls/deadline.ts";
import type { MapOptions } from "../options/call-options.ts";

/** Buffers of the lease, used as they are. */
export type MapPair = readonly [input: LeaseBuffer, output: LeaseBuffer];

/** One input of a raw `map`: buffers of the lease, or any typed array, which is copied. */
export type MapInput = MapPair | TypedArray;

/** What a raw `map` yields. */
export interface MapResult<Input extends MapInput> {
  /** Which input it was, from 0. */
  index: number;
  /** How many bytes the function wrote. */
  bytes: number;
  input: Input extends MapPair ? Input[0] : Input;
  /** The output of a pair; for an input that was copied, the bytes written, in memory of the program's own. */
  output: Input extends MapPair ? Input[1] : Uint8Array<ArrayBuffer>;
}

/** What `map` yields with `settled: true`. */
export type Settled<Result> =
  | { status: "fulfilled"; index: number; value: Result }
  | { status: "rejected"; index: number; reason: unknown };

/** Inputs of a map: they are taken as there is room for them. */
export type Source<Value> = Iterable<Value> | AsyncIterable<Value>;

/** Options with every default in place. */
export interface MapTerms {
  readonly concurrency: number;
  readonly ordered: boolean;
  readonly settled: boolean;
  readonly deadlineMs: number;
  readonly durationMs: number;
  readonly retries: number;
  readonly idempotent: boolean;
  readonly signal: AbortSignal | undefined;
}

/** Calls in flight per worker that hide a turn of the event loop. */
const CALLS_PER_WORKER = 64;

/** Of options that were checked, for workers with so many slots each. */
export function termsOf(options: MapOptions, slots: readonly number[]): MapTerms {
  const { concurrency, ordered = true, settled = false, retries = 0, durationMs = 0 } = options;
  const { idempotent = false } = options;
  const sum = (of: (slots: number) => number) => slots.reduce((all, each) => all + of(each), 0);
  return {
    concurrency: Math.min(
      concurrency ?? sum((each) => Math.min(each, CALLS_PER_WORKER)),
      sum((each) => each),
    ),
    ordered,
    settled,
    deadlineMs: wholeDeadline(options.deadlineMs),
    durationMs,
    retries,
    idempotent,
    signal: options.signal,
  };
}
