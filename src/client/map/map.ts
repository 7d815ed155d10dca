/** The implementation of `map`, for a lease and for several parts. */
import type { MapInput, MapResult, Settled, Source } from "./options.ts";
import type { JoiningCores } from "./live-cores.ts";
import { type MapShape, codecShape, rawShape } from "./shape.ts";
import { Mapping } from "./mapping.ts";
import { CodecMapOptions, RawMapOptions } from "../options/call-options.ts";
import { readOptions } from "../../options/read.ts";
import type { LeaseCore } from "../calls/submission.ts";

/** Calls a function once per value: which values go with which options. `Inputs` are what raw functions may be given. */
export interface MapMethod<Name extends string, Inputs extends MapInput> {
  <Input extends Inputs>(
    name: Name,
    inputs: Source<Input>,
    options: RawMapOptions & { settled: true },
  ): AsyncIterableIterator<Settled<MapResult<Input>>, undefined>;
  <Input extends Inputs>(
    name: Name,
    inputs: Source<Input>,
    options?: RawMapOptions & { settled?: false },
  ): AsyncIterableIterator<MapResult<Input>, undefined>;
  /** Values of any kind, which `write` puts into the input of a call and `read` takes out of its output. */
  <Value, Result>(
    name: Name,
    values: Source<Value>,
    options: CodecMapOptions<Value, Result> & { settled: true },
  ): AsyncIterableIterator<Settled<Result>, undefined>;
  <Value, Result>(
    name: Name,
    values: Source<Value>,
    options: CodecMapOptions<Value, Result> & { settled?: false },
  ): AsyncIterableIterator<Result, undefined>;
}

/** What only values that are neither buffers nor typed arrays need. */
const CODEC = ["write", "read", "inputBytes"] as const;

/** The `map` over the workers of these leases; those that come later `joining` tells of. */
export function mapMethod<Name extends string, Inputs extends MapInput>(
  leases: readonly LeaseCore[],
  joining?: JoiningCores,
): MapMethod<Name, Inputs> {
  const map = (
    name: Name,
    values: Source<unknown>,
    given: object = {},
  ): AsyncIterableIterator<unknown, undefined> => {
    if (typeof given === "object" && given !== null && CODEC.some((field) => field in given)) {
      // The program's own types say what its functions take and return.
      const options = readOptions("map", CodecMapOptions, given) as CodecMapOptions<
        unknown,
        unknown
      >;
      return new Mapping({ leases, joining }, name, values, codecShape(options), options);
    }
    const options = readOptions("map", RawMapOptions, given);
    const shape = rawShape<MapInput>(options.outputBytes) as MapShape<unknown, unknown>;
    return new Mapping({ leases, joining }, name, values, shape, options);
  };
  return map as MapMethod<Name, Inputs>;
}
