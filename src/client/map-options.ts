/** What a caller can ask of `map`, and what it yields. */
import { UsageError } from "../errors.ts";
import { type SubmitOptions, knownDuration, wholeDeadline, wholeRetries } from "./call-options.ts";
import type { LeaseBuffer, TypedArray } from "./lease-memory.ts";

export interface MapOptions extends Pick<
  SubmitOptions,
  "deadlineMs" | "durationMs" | "retries" | "signal"
> {
  /** Calls in flight on all workers together. Default: 64 per worker, or its slots. Fewer where the lease's memory holds no more. */
  concurrency?: number;
  /** Whether results come in the order of the inputs, else as they finish. Default true. */
  ordered?: boolean;
  /** Yields failures of calls as items instead of ending with the first. Default false. */
  settled?: boolean;
}

export interface RawMapOptions extends MapOptions {
  /** Inputs that are copied: room for one result. Default: as much as its input has. */
  outputBytes?: number;
}

/** How values become inputs, and outputs results. */
export interface CodecMapOptions<Value, Result> extends MapOptions {
  /** Room for the input of one value. */
  inputBytes: number | ((value: Value) => number);
  /** Room for the result of one value. */
  outputBytes: number;
  /** Puts a value into the input; returns how many bytes it takes, if not all. Must leave what it was given alone afterwards. */
  write(value: Value, input: Uint8Array<ArrayBuffer>): number | void;
  /** Takes the result out of the bytes that the function wrote; they are overwritten as soon as it has returned. */
  read(output: Uint8Array<ArrayBuffer>, value: Value, index: number): Result;
}

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
  readonly signal: AbortSignal | undefined;
}

/** Calls in flight per worker that hide a turn of the event loop. */
const CALLS_PER_WORKER = 64;

/** For workers with so many slots each. Throws {@link UsageError}. */
export function readMapOptions(options: MapOptions, slots: readonly number[]): MapTerms {
  const { concurrency, ordered = true, settled = false, signal } = options;
  if (concurrency !== undefined && !(Number.isInteger(concurrency) && concurrency >= 1))
    throw new UsageError(`concurrency must be a whole number from 1; it is ${concurrency}`);
  const sum = (of: (slots: number) => number) => slots.reduce((all, each) => all + of(each), 0);
  return {
    concurrency: Math.min(
      concurrency ?? sum((each) => Math.min(each, CALLS_PER_WORKER)),
      sum((each) => each),
    ),
    ordered,
    settled,
    deadlineMs: wholeDeadline(options.deadlineMs),
    durationMs: knownDuration(options.durationMs),
    retries: wholeRetries(options.retries),
    signal,
  };
}
