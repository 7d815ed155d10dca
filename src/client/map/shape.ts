/** What a map does with its values: how one becomes the input of a call, and what its output becomes. */
import { UsageError } from "../../base/errors.ts";
import { type TypedArray, requireView } from "../memory/lease-memory.ts";
import type { MapInput, MapPair, MapResult } from "./options.ts";
import type { LeaseCore } from "../calls/submission.ts";
import type { Station } from "./station.ts";
import { lengthOf } from "../memory/place.ts";
import { type CodecMapOptions, MAX_INPUT_BYTES } from "../options/call-options.ts";
import { show } from "../../base/show.ts";

export interface MapShape<Value, Result> {
  /** Puts a value into the station's buffers. Throws {@link OutOfLeaseMemory} when the lease has no room for it. */
  load(value: Value, station: Station<Value, Result>): void;
  /** Takes the result; its buffers are used again afterwards. */
  result(value: Value, index: number, station: Station<Value, Result>, bytes: number): Result;
  /** Where a call of the value must be made, if that matters: its buffers lie there. Asked only where there are several leases. */
  homeOf?(value: Value, leases: readonly LeaseCore[]): LeaseCore | undefined;
}

/** Pairs of the lease's buffers as they are, other typed arrays as copies. */
export function rawShape<Input extends MapInput>(
  outputBytes: number | undefined,
): MapShape<Input, MapResult<Input>> {
  return {
    homeOf: (value, leases) =>
      isPair(value)
        ? value
            .filter((view) => ArrayBuffer.isView(view))
            .flatMap((view) => leases.find(({ memory }) => memory.has(view)) ?? [])[0]
        : undefined,
    load(value, station) {
      if (isPair(value))
        station.use(requireInput(value[0], "an input"), requireInput(value[1], "an output"));
      else {
        const input = requireInput<TypedArray>(value, "an input of map that is no pair of buffers");
        station.copy(input, outputBytes ?? input.byteLength);
      }
    },
    result(value, index, station, bytes) {
      const pair = isPair(value);
      // The type of the input decides about both.
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
      const bytes =
        typeof inputBytes === "number"
          ? inputBytes
          : wholeBytes(inputBytes(value), MAX_INPUT_BYTES, "inputBytes");
      station.reserve(bytes, outputBytes);
      const room = station.inputView(bytes);
      station.inputLength = wholeBytes(write(value, room) ?? bytes, bytes, "write");
    },
    result: (value, index, station, bytes) =>
      read(station.output!.subarray(0, bytes), value, index),
  };
}

/** Returns the view. Throws {@link UsageError} when it is none, or its memory is gone. */
export function requireInput<View extends ArrayBufferView>(value: View, what: string): View {
  requireView(value, what);
  if (lengthOf(value) === 0 && value.buffer instanceof ArrayBuffer && value.buffer.detached)
    throw new UsageError(`${what} lies in memory that has been transferred; pass a copy on`);
  return value;
}

/** What a program's function has returned. */
function wholeBytes(bytes: number, most: number, name: string): number {
  if (Number.isInteger(bytes) && bytes >= 0 && bytes <= most) return bytes;
  throw new UsageError(
    `${name} must return a whole number of bytes from 0 to ${most}; it has returned ${show(bytes)}; correct that function`,
  );
}

const isPair = (value: MapInput): value is MapPair => Array.isArray(value);
