/** What a call costs on one node, in about a second and without a floor beside it: for `rfaas doctor`. */
import { ticksPerNs } from "../../ffi/system.ts";
import type { NodeInvoker } from "../../src/client/node-invoker.ts";
import { fabricNamed } from "../../src/fabric/registry.ts";
import { EchoClient } from "./echo-client.ts";
import { type Echo, InputStream, streamRoom } from "./input-stream.ts";
import { benchCpus, placeClient } from "../placement.ts";
import { summarize } from "../statistics.ts";
import { NO_DELAYS } from "../sweep.ts";

export interface Probed {
  /** Median round trip of a call with 8 bytes, back to back, on a worker that spins. */
  hot_p50_ns: number;
  /** The same on a worker that sleeps before each call. */
  warm_p50_ns: number;
  /** From client to worker; null where the fabric moves no bytes. */
  bytes_per_s: number | null;
}

const BYTES = 8;
const HOT = { polling: "hot", calls: 4_000, ratePerS: 0, warmUpMs: 300 } as const;
/** Slow enough that the worker is asleep before every call. */
const WARM = { polling: "warm", calls: 200, ratePerS: 1_000, warmUpMs: 100 } as const;
/** In flight, and at most half of what the node has free. */
const STREAM_BYTES = 16 * 1024 * 1024;
const STREAM_DEPTH = 16;
const STREAM_CALLS = 64;

/**
 * Takes a lease for each figure, one after another. Tells `at` what is measured next.
 *
 * @throws {LeaseRefused} the node has no room, or does not serve this client
 * @throws {Error} a result of a call is wrong
 */
export async function probe(rf: NodeInvoker, at: (what: string) => void): Promise<Probed> {
  const cpus = benchCpus();
  at("calls to a worker that spins");
  const hot = await roundTrip(rf, HOT, cpus);
  at("calls to a worker that sleeps");
  const warm = await roundTrip(rf, WARM, cpus);
  if (fabricNamed(rf.fabric)!.sharesMemory)
    return { hot_p50_ns: hot, warm_p50_ns: warm, bytes_per_s: null };
  at("bandwidth");
  return { hot_p50_ns: hot, warm_p50_ns: warm, bytes_per_s: await bandwidth(rf) };
}

async function roundTrip(
  rf: NodeInvoker,
  { polling, calls, ratePerS, warmUpMs }: typeof HOT | typeof WARM,
  cpus: readonly number[],
): Promise<number> {
  await using lease = await rf.allocate("rfaas:echo", { polling, memory: 8192 });
  const client = new EchoClient(lease, {
    ...{ bytes: BYTES, name: "echo", copies: false },
    ...{ ratePerS, delays: NO_DELAYS, warmUpMs },
  });
  client.warmUp();
  placeClient(lease.cpus, cpus);
  const ticks = new Uint32Array(calls);
  client.window(ticks);
  return Math.round(summarize(ticks, 1 / ticksPerNs()).p50);
}

async function bandwidth(rf: NodeInvoker): Promise<number> {
  const { freeMemoryBytes } = await rf.status();
  const bytes = Math.floor(Math.min(STREAM_BYTES, freeMemoryBytes / 2) / STREAM_DEPTH);
  await using lease = await rf.allocate<Echo>("rfaas:echo", {
    polling: "warm",
    ...streamRoom(bytes, STREAM_DEPTH),
  });
  const stream = new InputStream(lease, bytes, STREAM_DEPTH);
  await stream.run(STREAM_DEPTH);
  const startedNs = Bun.nanoseconds();
  await stream.run(STREAM_CALLS);
  return Math.round((STREAM_CALLS * bytes * 1e9) / (Bun.nanoseconds() - startedNs));
}
