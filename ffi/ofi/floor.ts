/** The floor of calls over libfabric: the same messages by the provider without rfaas. */
import type { Pointer } from "bun:ffi";
import { check } from "../errors.ts";
import type { FloorOptions } from "../floor.ts";
import type { Link } from "../link.ts";
import { ofi } from "./symbols.ts";

/** As `measureFloor`, over a connection whose two ends are both in this process. */
export function measureOfiFloor(
  ends: { client: Link; server: Link },
  options: FloorOptions,
  out: Uint32Array<ArrayBuffer>,
): Uint32Array<ArrayBuffer> {
  const { bytes, warmup, samples, clientCpu, echoCpu, block, gapNs } = options;
  if (out.length < samples) throw new RangeError("the sample buffer is too short");
  check(
    "measuring the floor",
    ofi().rfaas_ofi_floor(
      ends.client.handle as Pointer,
      ends.server.handle as Pointer,
      ...([bytes, warmup, samples, clientCpu, echoCpu] as const),
      block ? 1 : 0,
      gapNs,
      out,
    ),
  );
  return out.subarray(0, samples);
}
