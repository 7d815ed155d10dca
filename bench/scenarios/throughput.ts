/**
 * Many calls in flight: how many end per second when every worker always has `depth` of them. Beside it, the raw C ping-pong
 * with one in flight: pipelining is worth what lies below it.
 */
import { Type } from "@sinclair/typebox";
import { MAX_ARENA_BYTES, type Polling } from "../../ffi/layout.ts";
import { ticksPerNs } from "../../ffi/system.ts";
import { UsageError } from "../../src/base/errors.ts";
import { countOf, formatBytes } from "../../src/base/units.ts";
import type { CallBatch } from "../../src/client/batches/public-batch.ts";
import type { PublicCall as Call } from "../../src/client/calls/public-call.ts";
import type { NodeInvoker } from "../../src/client/node-invoker.ts";
import type { Lease } from "../../src/client/lease/lease.ts";
import { AllocateOptions } from "../../src/client/options/allocate-options.ts";
import { truth, worded } from "../../src/options/fields.ts";
import type { Floor } from "../../src/fabric/floor.ts";
import { environment } from "../environment.ts";
import { type Extent, extentInWords, extentOf, pairsOf } from "../extent.ts";
import { depthField, itersField, pairsField, pollingField, sizeField, sizesOf } from "../fields.ts";
import { floorOf } from "../floor.ts";
import { type Placement, benchCpus, placeClient } from "../placement.ts";
import { type Row, pairedFields } from "../rows.ts";
import { type Bench, type Measured, defineScenario } from "../scenario.ts";
import { type Summary, median, summarize } from "../statistics.ts";
import { type Level, NO_DELAYS, levelOf, tellsLevel } from "../sweep.ts";

const DEFAULT_BYTES = 64;
const DEFAULT_DEPTH = 32;
const DEFAULT_PAIRS = 15;

const { workers, coresPerWorker } = AllocateOptions.properties;
const Options = Type.Object({
  ...sizeField(DEFAULT_BYTES),
  ...itersField("500000"),
  ...pairsField(DEFAULT_PAIRS),
  ...pollingField("hot"),
  ...depthField("32"),
  workers: worded(workers, { description: "workers" }),
  coresPerWorker: worded(coresPerWorker, { description: "cores of a worker" }),
  map: Type.Optional(truth({ description: "through lease.map, an asynchronous iteration" })),
  many: Type.Optional(truth({ description: "through lease.submitMany, two batches at a time" })),
});

interface ThroughputRow extends Row {
  calls_per_s: number;
  depth: number;
  workers: number;
  /** Of the cores that client and worker have, by the floor's round trip. */
  level?: Level;
}

export const throughput = defineScenario<typeof Options, ThroughputRow>({
  name: "throughput",
  summary: "many calls in flight: calls per second",
  options: Options,
  columns: ({ calls_per_s: rate, depth, workers, level }) => [
    ...(level === undefined ? [] : [["level", level] as const]),
    ["calls/s", Math.round(rate).toString()],
    ["depth", String(depth)],
    ["workers", String(workers)],
  ],
  async *run(bench, options) {
    if (options.map && options.many)
      throw new UsageError("--map and --many exclude each other; name one of them");
    await using rf = await bench.open();
    const { depth = DEFAULT_DEPTH, workers = 1, coresPerWorker = 1 } = options;
    const way = options.many ? "many" : options.map ? "map" : "throughput";
    const { polling = "hot" } = options;
    const extent = extentOf(options, DEFAULT_PAIRS);
    for (const bytes of sizesOf(options, DEFAULT_BYTES)) {
      const iterations = Math.max(
        1000,
        options.iters ?? Math.min(500_000, Math.floor(2e10 / (bytes + 40_000))),
      );
      bench.tell(
        `throughput${WAYS[way].words} of ${bytes} B, ${depth} in flight on ${workers === 1 ? "one worker" : `each of ${workers} workers`}: ${extentInWords(extent, "window")} of ${countOf(iterations, "call")}`,
      );
      const floor = await floorOf(rf.fabric, bench.where);
      yield await measureThroughput(bench, rf, {
        ...{ bytes, depth, workers, coresPerWorker, iterations, extent, polling, floor, way },
      });
    }
  },
});

interface ThroughputOptions {
  bytes: number;
  depth: number;
  workers: number;
  coresPerWorker: number;
  /** Calls per window. */
  iterations: number;
  extent: Extent;
  polling: Polling;
  floor: Floor;
  way: Way;
}

/** `submit` and `get`, `lease.map` over pairs of buffers, or `lease.submitMany`. It is the row's name. */
type Way = "throughput" | "map" | "many";

type Echo = typeof import("../../functions/echo/echo.ts");

const WARMUP_CALLS = 200_000;
/** The engine compiles in threads of its own: however fast calls are, that takes its time. */
const WARMUP_NS = 3e8;
/** One sample is the mean time per call over so many: a clock read per call would be half of it. */
const CALLS_PER_SAMPLE = 500;
const FLOOR_SAMPLES = 20_000;
/** `pairs` of buffers for each call in flight: a map takes more inputs than that ahead of its results, a batch has more calls. */
const WAYS: Record<Way, { words: string; pairs: number }> = {
  throughput: { words: "", pairs: 1 },
  map: { words: " of a map", pairs: 5 },
  many: { words: " of submitMany", pairs: 8 },
};

/** Of the lease. Throws {@link UsageError} when that is more than a lease can have. */
function memoryOf({ bytes, depth, workers, way }: ThroughputOptions): number {
  const needed = 2 * (bytes + 128) * depth * workers * WAYS[way].pairs + 4096;
  if (needed > MAX_ARENA_BYTES)
    throw new UsageError(
      `the buffers take ${formatBytes(needed)}, and a lease has at most 4 GiB; choose a smaller --size, --depth or --workers`,
    );
  return needed;
}

async function measureThroughput(
  bench: Bench,
  rf: NodeInvoker,
  options: ThroughputOptions,
): Promise<Measured<ThroughputRow>> {
  const { bytes, depth, workers, iterations, extent, polling } = options;
  const memory = memoryOf(options);
  const usable = benchCpus();
  const floorTicks = new Uint32Array(new ArrayBuffer(4 * Math.min(FLOOR_SAMPLES, iterations)));
  const windows: Summary[] = [];
  const floors: Summary[] = [];
  const rates: number[] = [];
  let placement: Placement | undefined;
  const slots = 2 ** Math.ceil(Math.log2(depth));

  for (const _ of pairsOf(bench, extent)) {
    {
      await using lease = await rf.allocate<Echo>("rfaas:echo", {
        polling,
        memory,
        workers,
        coresPerWorker: options.coresPerWorker,
        slots,
      });
      const calls = new CALLS[options.way](lease, bytes, depth);
      const warmNs = Bun.nanoseconds() + WARMUP_NS;
      do await calls.run(Math.min(WARMUP_CALLS, iterations), null);
      while (Bun.nanoseconds() < warmNs);
      placement ??= placeClient(lease.cpus, usable);
      const samples = new Float64Array(Math.floor(iterations / CALLS_PER_SAMPLE));
      const startedNs = Bun.nanoseconds();
      await calls.run(samples.length * CALLS_PER_SAMPLE, samples);
      rates.push((samples.length * CALLS_PER_SAMPLE) / ((Bun.nanoseconds() - startedNs) / 1e9));
      windows.push(summarize(samples));
    }
    await options.floor.measure(
      {
        bytes,
        warmup: 2_000,
        samples: floorTicks.length,
        clientCpu: placement.clientCpu,
        echoCpu: placement.workerCpu,
        block: false,
        gapNs: 0,
        delays: NO_DELAYS.floor.asked,
      },
      floorTicks,
    );
    floors.push(summarize(floorTicks, 1 / ticksPerNs()));
  }

  const row: ThroughputRow = {
    benchmark: options.way,
    fabric: rf.fabric,
    polling,
    bytes,
    iterations: iterations * windows.length,
    ...pairedFields(windows, floors, `${options.floor.name(false)}, one in flight`),
    calls_per_s: median(rates),
    depth,
    workers,
    environment: environment(),
  };
  if (tellsLevel(options.floor, bytes)) row.level = levelOf(row.baseline.p50_ns);
  return { row, warning: placement?.warning };
}

/** `depth` calls in flight per worker, each with buffers of its own; every result is checked. */
class Pipeline {
  readonly #lease: Lease<Echo>;
  readonly #inputs: Uint8Array<ArrayBuffer>[];
  readonly #outputs: Uint8Array<ArrayBuffer>[];
  readonly #calls: (Call | undefined)[];
  readonly #bytes: number;
  #count = 0;

  constructor(lease: Lease<Echo>, bytes: number, depth: number) {
    const flying = depth * lease.workers;
    this.#lease = lease;
    this.#bytes = bytes;
    this.#inputs = Array.from({ length: flying }, () => lease.input(Uint8Array, bytes).fill(0x5a));
    this.#outputs = Array.from({ length: flying }, () => lease.output(Uint8Array, bytes));
    this.#calls = new Array(flying).fill(undefined);
  }

  run(count: number, samples: Float64Array | null): void {
    const flying = this.#calls.length;
    let beforeNs = Bun.nanoseconds();
    for (let i = 0; i < count; i++) {
      this.#exchange(i % flying);
      if (samples && (i + 1) % CALLS_PER_SAMPLE === 0) {
        const nowNs = Bun.nanoseconds();
        samples[(i + 1) / CALLS_PER_SAMPLE - 1] = (nowNs - beforeNs) / CALLS_PER_SAMPLE;
        beforeNs = nowNs;
      }
    }
    for (let place = 0; place < flying; place++) this.#take(place);
  }

  #exchange(place: number): void {
    this.#take(place);
    const input = this.#inputs[place]!;
    input[0] = this.#count++ & 0xff;
    this.#calls[place] = this.#lease.submit("echo", input, this.#outputs[place]!);
  }

  #take(place: number): void {
    const call = this.#calls[place];
    if (call === undefined) return;
    const written = call.get();
    this.#calls[place] = undefined;
    if (written !== this.#bytes || this.#outputs[place]![0] !== this.#inputs[place]![0])
      throw new Error(`a call returned ${written} bytes or the wrong ones: the echo is wrong`);
  }
}

/** As many calls of one map in flight, over pairs of buffers that are used again when their result has come. */
class MappedCalls {
  readonly #lease: Lease<Echo>;
  readonly #pairs: (readonly [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>])[];
  readonly #bytes: number;
  readonly #concurrency: number;

  constructor(lease: Lease<Echo>, bytes: number, depth: number) {
    this.#lease = lease;
    this.#bytes = bytes;
    this.#concurrency = depth * lease.workers;
    this.#pairs = Array.from(
      { length: WAYS.map.pairs * this.#concurrency },
      () => [lease.input(Uint8Array, bytes).fill(0x5a), lease.output(Uint8Array, bytes)] as const,
    );
  }

  async run(count: number, samples: Float64Array | null): Promise<void> {
    let beforeNs = Bun.nanoseconds();
    const results = this.#lease.map("echo", this.#inputs(count), {
      concurrency: this.#concurrency,
    });
    for await (const { index, bytes, output } of results) {
      if (bytes !== this.#bytes || output[0] !== (index & 0xff))
        throw new Error(`a call returned ${bytes} bytes or the wrong ones: the echo is wrong`);
      if (samples && (index + 1) % CALLS_PER_SAMPLE === 0) {
        const nowNs = Bun.nanoseconds();
        samples[(index + 1) / CALLS_PER_SAMPLE - 1] = (nowNs - beforeNs) / CALLS_PER_SAMPLE;
        beforeNs = nowNs;
      }
    }
  }

  *#inputs(count: number) {
    for (let i = 0; i < count; i++) {
      const pair = this.#pairs[i % this.#pairs.length]!;
      pair[0][0] = i & 0xff;
      yield pair;
    }
  }
}

/** Two batches at a time: the workers have calls of one while the results of the other are looked at. */
class BatchedCalls {
  readonly #lease: Lease<Echo>;
  readonly #halves: { inputs: Uint8Array<ArrayBuffer>[]; outputs: Uint8Array<ArrayBuffer>[] }[];
  readonly #bytes: number;
  #count = 0;

  constructor(lease: Lease<Echo>, bytes: number, depth: number) {
    this.#lease = lease;
    this.#bytes = bytes;
    const length = (WAYS.many.pairs * depth * lease.workers) / 2;
    this.#halves = Array.from({ length: 2 }, () => ({
      inputs: Array.from({ length }, () => lease.input(Uint8Array, bytes).fill(0x5a)),
      outputs: Array.from({ length }, () => lease.output(Uint8Array, bytes)),
    }));
  }

  run(count: number, samples: Float64Array | null): void {
    const size = this.#halves[0]!.inputs.length;
    let sampled = 0;
    let beforeNs = Bun.nanoseconds();
    let flying: CallBatch | undefined;
    for (let begun = 0, half = 0; begun < count; begun += size, half ^= 1) {
      const next = this.#begin(half);
      if (flying !== undefined) this.#check(flying, half ^ 1);
      flying = next;
      const due = samples === null ? 0 : Math.floor(begun / CALLS_PER_SAMPLE);
      if (due === sampled || samples === null) continue;
      const nowNs = Bun.nanoseconds();
      samples.fill((nowNs - beforeNs) / ((due - sampled) * CALLS_PER_SAMPLE), sampled, due);
      sampled = due;
      beforeNs = nowNs;
    }
    if (flying === undefined || samples === null) return void flying?.get();
    flying.get();
    const left = samples.length - sampled;
    samples.fill((Bun.nanoseconds() - beforeNs) / (left * CALLS_PER_SAMPLE), sampled);
  }

  #begin(half: number): CallBatch {
    const { inputs, outputs } = this.#halves[half]!;
    for (let i = 0; i < inputs.length; i++) inputs[i]![0] = this.#count++ & 0xff;
    return this.#lease.submitMany("echo", inputs, outputs);
  }

  #check(batch: CallBatch, half: number): void {
    const written = batch.get();
    const { inputs, outputs } = this.#halves[half]!;
    for (let i = 0; i < inputs.length; i++)
      if (written[i] !== this.#bytes || outputs[i]![0] !== inputs[i]![0])
        throw new Error(`a call returned ${written[i]} bytes or the wrong ones: the echo is wrong`);
  }
}

const CALLS = { throughput: Pipeline, map: MappedCalls, many: BatchedCalls } as const;
