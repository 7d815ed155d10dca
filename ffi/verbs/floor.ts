/** The floor of calls over verbs: the same transfers by the device without rfaas. */
import type { Pointer } from "bun:ffi";
import { check } from "../errors.ts";
import type { FloorOptions } from "../floor.ts";
import type { Link } from "../link.ts";
import type { Region } from "../region.ts";
import { verbs } from "./symbols.ts";

/** As `measureFloor`, over a connection whose two ends are both in this process; `region` is the client's. */
export function measureVerbsFloor(
  ends: { client: Link; server: Link; region: Region },
  options: FloorOptions,
  out: Uint32Array<ArrayBuffer>,
): Uint32Array<ArrayBuffer> {
  const { bytes, warmup, samples, clientCpu, echoCpu, block, gapNs } = options;
  if (out.length < samples) throw new RangeError("the sample buffer is too short");
  check(
    "measuring the floor",
    verbs().rfaas_verbs_floor(
      ends.client.handle as Pointer,
      ends.server.handle as Pointer,
      ends.region.handle as Pointer,
      bytes,
      warmup,
      samples,
      clientCpu,
      echoCpu,
      block ? 1 : 0,
      gapNs,
      out,
    ),
  );
  return out.subarray(0, samples);
}
