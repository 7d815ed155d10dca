/** The floor that benchmarks compare with: a raw C ping-pong between two cores, with no rfaas in between. */
import { check } from "./errors.ts";
import { native } from "./library.ts";

export interface FloorOptions {
  bytes: number;
  /** Rounds that do not count, and that do, at each delay. */
  warmup: number;
  samples: number;
  /** The calling thread is pinned here, and stays so. */
  clientCpu: number;
  echoCpu: number;
  /** Sleep on a futex instead of spinning. */
  block: boolean;
  /** Least time between the beginnings of two round trips; 0 for back to back. */
  gapNs: number;
  /** What both sides wait before they store, in ticks, one after the other; the client's wait is no part of a round trip. */
  delays: Uint32Array<ArrayBuffer>;
}

export interface StreamOptions {
  /** Of a message, and how many messages have memory of their own, which they use in turn. */
  bytes: number;
  buffers: number;
  /** Messages that do not count, and that do. */
  warmup: number;
  messages: number;
  /** As in {@link FloorOptions}. */
  clientCpu: number;
  takerCpu: number;
  block: boolean;
}

/** Waits so many ticks, as the floor does, as a function that a hot loop can hold. */
export function delayer(): (ticks: number) => void {
  return native().rfaas_delay;
}

/** How many ticks such a wait really takes in C, without the way through FFI. */
export function delayCost(ticks: number): number {
  return native().rfaas_delay_cost(ticks);
}

/** Round trips on a fresh mapping, in ticks of the cycle counter, in the order they were taken: `samples` of each delay. */
export function measureFloor(
  options: FloorOptions,
  out: Uint32Array<ArrayBuffer>,
): Uint32Array<ArrayBuffer> {
  const { bytes, warmup, samples, clientCpu, echoCpu, block, gapNs, delays } = options;
  const count = samples * delays.length;
  if (out.length < count) throw new RangeError("the sample buffer is too short");
  check(
    "measuring the floor",
    native().rfaas_floor(
      bytes,
      warmup,
      samples,
      clientCpu,
      echoCpu,
      block ? 1 : 0,
      gapNs,
      delays,
      delays.length,
      out,
    ),
  );
  return out.subarray(0, count);
}
