/** What a benchmark compares calls with: the bare fabric, and the field's own tool. */
import type { FloorOptions, StreamOptions } from "../../ffi/floor.ts";

/** The fabric with no rfaas in between, on fresh memory each time. */
export interface Floor {
  /** For a report. `block`: both sides sleep instead of spinning. */
  name(block: boolean): string;
  /** Fills `out` with round trips in ticks of the cycle counter, and returns the part that it has filled. */
  measure(options: FloorOptions, out: Uint32Array<ArrayBuffer>): Promise<Uint32Array<ArrayBuffer>>;
  /** How long calls of so many bytes go on before a window of them counts, at most. */
  warmUpMs(bytes: number): number;
  /**
   * The delays of a sweep, in nanoseconds: by so much the moment of a store moves against the polls of the other side. Empty where
   * the round trip does not depend on it.
   */
  readonly delaysNs: readonly number[];
  /** How many calls of so many bytes take a few tenths of a second. */
  windowCalls(bytes: number, block: boolean): number;
  /** Messages one way, as the inputs of calls are. Undefined where the fabric has a {@link Yardstick} for that, or moves no bytes. */
  readonly stream?: StreamFloor;
}

export interface StreamFloor {
  /** For a report, as that of a {@link Floor}. */
  name(block: boolean): string;
  /** Resolves to the nanoseconds that all messages together took that count. */
  measure(options: StreamOptions): Promise<number>;
  /** So many bytes take about a tenth of a second. */
  readonly windowBytes: number;
}

/** A tool that others measure the same fabric with, such as perftest. Its two ends run on this machine. */
export interface Yardstick {
  /** Typical one-way time of a write of `bytes` bytes; undefined when the tool is missing or fails. */
  latencyNs(bytes: number, iterations: number): Promise<number | undefined>;
  /** Bytes a second of a stream of writes; undefined when the tool is missing or fails. */
  bytesPerS(bytes: number, iterations: number): Promise<number | undefined>;
}
