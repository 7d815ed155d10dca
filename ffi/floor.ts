/** The floor that benchmarks compare with: a raw C ping-pong between two cores, with no rfaas in between. */
import { check } from "./errors.ts";
import { native } from "./library.ts";

export interface FloorOptions {
  bytes: number;
  warmup: number;
  samples: number;
  /** The calling thread is pinned here, and stays so. */
  clientCpu: number;
  echoCpu: number;
  /** Sleep on a futex instead of spinning. */
  block: boolean;
  /** Least time between the beginnings of two round trips; 0 for back to back. */
  gapNs: number;
}

/** Round trips on a fresh mapping, in ticks of the cycle counter, in the order they were taken. */
export function measureFloor(
  options: FloorOptions,
  out: Uint32Array<ArrayBuffer>,
): Uint32Array<ArrayBuffer> {
  const { bytes, warmup, samples, clientCpu, echoCpu, block, gapNs } = options;
  if (out.length < samples) throw new RangeError("the sample buffer is too short");
  check(
    "measuring the floor",
    native().rfaas_floor(bytes, warmup, samples, clientCpu, echoCpu, block ? 1 : 0, gapNs, out),
  );
  return out.subarray(0, samples);
}
