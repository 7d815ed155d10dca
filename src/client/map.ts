/** What `map` of a lease and of a group come to. */
import {
  type CodecMapOptions,
  type MapInput,
  type RawMapOptions,
  type Source,
} from "./map-options.ts";
import { type MapShape, codecShape, rawShape } from "./map-shape.ts";
import { Mapping } from "./mapping.ts";
import type { LeaseParts } from "./submission.ts";

export type AnyMapOptions = RawMapOptions | CodecMapOptions<unknown, unknown>;

/** The overloads of {@link Lease.map} say which values go with which options. */
export function mapOver(
  leases: readonly LeaseParts[],
  name: string,
  values: Source<unknown>,
  options: AnyMapOptions,
): AsyncIterableIterator<unknown, undefined> {
  const shape: MapShape<unknown, unknown> =
    "write" in options
      ? codecShape(options)
      : (rawShape<MapInput>(options.outputBytes) as MapShape<unknown, unknown>);
  return new Mapping(leases, name, values, shape, options);
}
