/** What a map does with its values: how one becomes the input of a call, and what its output becomes. */
import { UsageError } from "../errors.ts";
import type { TypedArray } from "./lease-memory.ts";
import type { MapInput, MapPair, MapResult } from "./map-options.ts";
import type { Station } from "./map-station.ts";
import type { CodecMapOptions } from "./options/call-options.ts";

export interface MapShape<Value, Result> {
  /** Brings a value to where its call finds it. Throws {@link OutOfLeaseMemory} when the lease has no room for it. */
  load(value: Value, station: Station<Value, Result>): void;
  /** Takes the result; its buffers are used again afterwards. */
  result(value: Value, index: number, station: Station<Value, Result>, bytes: number): Result;
}

/** Pairs of the lease's buffers as they are, other typed arrays as copies. */
export function rawShape<Input extends MapInput>(
  outputBytes: number | undefined,
): MapShape<Input, MapResult<Input>> {
  return {
    load(value, station) {
      if (isPair(value)) station.use(requireInput(value[0]), requireInput(value[1]));
      else station.copy(requireInput<TypedArray>(value), outputBytes ?? value.byteLength);
    },
    result(value, index, station, bytes) {
      const pair = isPair(value);
      // What the input is decides about both.
      return {
        index,
        bytes,
        input: pair ? value[0] : value,
        output: pair ? value[1] : station.output!.slice(0, bytes),
      } as MapResult<Input>;
    },
  };
}

/** Values of any kind, through functions that write and read them. */
export function codecShape<Value, Result>({
  inputBytes,
  outputBytes,
  write,
  read,
}: CodecMapOptions<Value, Result>): MapShape<Value, Result> {
  return {
    load(value, station) {
      const bytes = typeof inputBytes === "number" ? inputBytes : inputBytes(value);
      station.reserve(bytes, outputBytes);
      const room = station.inputView(bytes);
      station.inputLength = write(value, room) ?? bytes;
    },
    result: (value, index, station, bytes) =>
      read(station.output!.subarray(0, bytes), value, index),
  };
}

/** Returns the input. Throws {@link UsageError} when it is no view of memory that is there. */
export function requireInput<View extends ArrayBufferView>(value: View): View {
  if (!ArrayBuffer.isView(value))
    throw new UsageError(
      "an input must be a typed array, or a pair of buffers of the lease; give write and read for other values",
    );
  if (value.byteLength === 0 && value.buffer instanceof ArrayBuffer && value.buffer.detached)
    throw new UsageError("the input's memory has been transferred; pass a copy on");
  return value;
}

const isPair = (value: MapInput): value is MapPair => Array.isArray(value);
