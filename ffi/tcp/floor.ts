/** The floor of calls over tcp: two sockets without rfaas. */
import { check } from "../errors.ts";
import type { FloorOptions, StreamOptions } from "../floor.ts";
import { tcp } from "./symbols.ts";

/** As `measureFloor`, over a connection of the loopback device. */
export function measureTcpFloor(
  options: FloorOptions,
  out: Uint32Array<ArrayBuffer>,
): Uint32Array<ArrayBuffer> {
  const { bytes, warmup, samples, clientCpu, echoCpu, block, gapNs } = options;
  if (out.length < samples) throw new RangeError("the sample buffer is too short");
  check(
    "measuring the floor",
    tcp().rfaas_tcp_floor(
      ...([bytes, warmup, samples, clientCpu, echoCpu] as const),
      block ? 1 : 0,
      gapNs,
      out,
    ),
  );
  return out.subarray(0, samples);
}

/** Nanoseconds that the messages take that count, one way, until the other side says that it has them. */
export function measureTcpStream(options: StreamOptions): number {
  const { bytes, buffers, warmup, messages, clientCpu, takerCpu, block } = options;
  const tookNs = new Float64Array(1);
  check(
    "measuring the floor",
    tcp().rfaas_tcp_stream_floor(
      ...([bytes, buffers, warmup, messages, clientCpu, takerCpu] as const),
      block ? 1 : 0,
      tookNs,
    ),
  );
  return tookNs[0]!;
}
