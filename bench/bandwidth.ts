/**
 * Large inputs, several in flight: bytes per second from client to worker. Windows alternate with runs of `ib_write_bw` on the same
 * device. The worker looks at the first and last byte of each, and the client checks what it saw.
 */
import type { Polling } from "../ffi/layout.ts";
import type { Call } from "../src/client/calls/call.ts";
import type { Invoker } from "../src/client/invoker.ts";
import type { Lease } from "../src/client/lease/lease.ts";
import { environment } from "./environment.ts";
import type { Perftest } from "./perftest.ts";
import { type Row, pairedFields } from "./rows.ts";
import { type Summary, summarize } from "./statistics.ts";

export interface BandwidthOptions {
  bytes: number;
  /** Calls in flight. */
  depth: number;
  /** Calls per window. */
  iterations: number;
  pairs: number;
  polling: Polling;
  /** Undefined where there is none to compare with. */
  perftest: Perftest | undefined;
}

type Echo = typeof import("../functions/echo/echo.ts");

const OUTPUT_BYTES = 8;

export async function measureBandwidth(rf: Invoker, options: BandwidthOptions): Promise<Row> {
  const { bytes, depth, iterations, pairs, polling, perftest } = options;
  const calls: Summary[] = [];
  const floors: Summary[] = [];
  const memory = depth * (bytes + OUTPUT_BYTES + 128) + 4096;
  await using lease = await rf.allocate<Echo>("rfaas:echo", {
    polling,
    memory,
    slots: 2 ** Math.ceil(Math.log2(depth)),
  });
  const stream = new Stream(lease, bytes, depth);
  await stream.run(depth);
  for (let pair = 0; pair < pairs; pair++) {
    const startedNs = Bun.nanoseconds();
    await stream.run(iterations);
    calls.push(single((Bun.nanoseconds() - startedNs) / iterations));
    const rate = await perftest?.bytesPerS(bytes, Math.max(iterations, 5));
    if (rate !== undefined) floors.push(single((bytes / rate) * 1e9));
  }
  const compared = floors.length === pairs;
  const fields = pairedFields(calls, compared ? floors : calls, "ib_write_bw");
  return {
    benchmark: "bandwidth",
    fabric: lease.fabric,
    polling,
    bytes,
    iterations: iterations * pairs,
    ...fields,
    ...(compared ? {} : { baseline: { name: "none", p50_ns: 0, p99_ns: 0 } }),
    depth,
    bytes_per_s: bytes / (fields.p50_ns / 1e9),
    ...(compared ? { baseline_bytes_per_s: bytes / (fields.baseline.p50_ns / 1e9) } : {}),
    environment: environment(),
  };
}

const single = (ns: number): Summary => summarize(Float64Array.of(ns));

/** `depth` calls in flight, each with an input of its own. */
class Stream {
  readonly #lease: Lease<Echo>;
  readonly #inputs: Uint8Array<ArrayBuffer>[];
  readonly #outputs: Uint8Array<ArrayBuffer>[];
  #count = 0;

  constructor(lease: Lease<Echo>, bytes: number, depth: number) {
    this.#lease = lease;
    this.#inputs = Array.from({ length: depth }, () => lease.input(Uint8Array, bytes));
    this.#outputs = this.#inputs.map(() => lease.output(Uint8Array, OUTPUT_BYTES));
  }

  async run(count: number): Promise<void> {
    const flying: (Call | undefined)[] = this.#inputs.map(() => undefined);
    for (let i = 0; i < count + flying.length; i++) {
      const place = i % flying.length;
      const call = flying[place];
      if (call !== undefined) this.#check(place, await call);
      flying[place] = i < count ? this.#begin(place) : undefined;
    }
  }

  #begin(place: number): Call {
    const input = this.#inputs[place]!;
    const mark = this.#count++ & 0xff;
    input[0] = mark;
    input[input.length - 1] = mark;
    return this.#lease.submit("ends", input, this.#outputs[place]!);
  }

  #check(place: number, written: number): void {
    const input = this.#inputs[place]!;
    const [first, last] = this.#outputs[place]!;
    if (written !== 2 || first !== input[0] || last !== input[input.length - 1])
      throw new Error(`a call returned ${written} bytes, ${first} and ${last}: the input is wrong`);
  }
}
