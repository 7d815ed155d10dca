import { type Static, Type } from "@sinclair/typebox";
import { measureBandwidth } from "../../bench/bandwidth.ts";
import { measureCold } from "../../bench/cold.ts";
import { floorOf } from "../../bench/floor.ts";
import { measureLatency } from "../../bench/latency.ts";
import { Perftest } from "../../bench/perftest.ts";
import { type Format, type Row, RowWriter } from "../../bench/rows.ts";
import { measureThroughput } from "../../bench/throughput.ts";
import { type Invoker, invoker } from "../client/invoker.ts";
import { UsageError } from "../base/errors.ts";
import type { FabricName } from "../protocol/messages.ts";
import { AllocateOptions } from "../client/options/allocate-options.ts";
import { InvokerOptions } from "../client/options/connect-options.ts";
import { bytes, choice, readAs, truth, whole, worded } from "../options/fields.ts";
import { inherited } from "../options/flags.ts";
import { defineCommand } from "./shared/command.ts";
import { fabricFields, readFabric } from "./shared/fabric-options.ts";
import { jsonField, requireOneOf } from "./shared/fields.ts";
import { log } from "./shared/log.ts";
import { splitTarget } from "./shared/target.ts";

const MAX_RATE = 1_000_000;

/** Pairs of windows; fewer cannot be called a median. */
const DEFAULT_PAIRS = 15;
/** `-a`: from 2 bytes to 8 MiB, as perftest has it. */
const ALL_SIZES = Array.from({ length: 23 }, (_, i) => 2 ** (i + 1));
/** In flight, and in one window. */
const BANDWIDTH_BYTES = 32 * 1024 * 1024;
const MAX_BYTES = 1024 ** 3;
const ADAPTIVE_RATES = [0, 10_000, 100];
/** Slow enough that the worker is asleep before every call. */
const WARM_RATE = 5_000;
const DEFAULT_RATES = { hot: [0], warm: [WARM_RATE], adaptive: ADAPTIVE_RATES };

const { node } = InvokerOptions.properties;
const { workers, coresPerWorker, polling } = AllocateOptions.properties;

const Options = Type.Object({
  size: Type.Optional(
    bytes(1, MAX_BYTES, {
      description: "payload each way",
      otherwise: "8; throughput: 64; bandwidth: 1MiB",
      short: "s",
    }),
  ),
  all: Type.Optional(truth({ description: "latency: all sizes from 2 B to 8 MiB", short: "a" })),
  iters: Type.Optional(
    whole(1, 100_000_000, {
      description: "calls per window",
      otherwise: "20000 hot, 500 warm; throughput: 500000; cold: rounds, 20",
      short: "n",
    }),
  ),
  pairs: Type.Optional(whole(1, 1000, { description: "pairs of windows", default: DEFAULT_PAIRS })),
  polling: worded(polling, { otherwise: "hot; bandwidth: warm" }),
  payload: Type.Optional(
    choice(["copy", "touch"], {
      description: "copy: the function reads and writes every byte; touch: the first and last",
      default: "copy",
    }),
  ),
  rate: Type.Optional(
    whole(0, MAX_RATE, {
      description: "start calls at this rate, 0 for back to back",
      otherwise: "hot 0, warm 5000, adaptive 0, 10000 and 100",
      placeholder: "calls/s",
    }),
  ),
  depth: Type.Optional(
    whole(1, 1024, {
      description: "calls in flight per worker",
      otherwise: "throughput 32, bandwidth 16 or 32 MiB",
    }),
  ),
  workers: worded(workers, { description: "throughput: workers" }),
  coresPerWorker: worded(coresPerWorker, { description: "throughput: cores of a worker" }),
  map: Type.Optional(
    truth({ description: "throughput: through lease.map, an asynchronous iteration" }),
  ),
  module: Type.Optional(
    readAs(readTarget, {
      description: "latency: measure this echo in place of the built-in one",
      placeholder: "file#function",
    }),
  ),
  node: worded(node, { description: "measure a running node" }),
  ...jsonField("one JSON object a row"),
  csv: Type.Optional(truth({ description: "comma-separated values with a header" })),
  ...fabricFields,
});
type Options = Static<typeof Options>;

export const bench = defineCommand({
  usage: "bench <latency|throughput|bandwidth|cold>",
  summary: "measure calls beside the floor of this machine",
  description: `latency     one call in flight: the round trip, as a client sees it
throughput  many calls in flight: calls per second
bandwidth   large inputs over RDMA, several in flight: bytes per second, beside ib_write_bw where that is installed
cold        from a request for a lease to the first result

Windows of rfaas alternate with windows of the floor: a raw C ping-pong of the same bytes over the same kind of memory between
the same two cores (for warm polling, one that sleeps on a futex). Over RDMA it is a ping-pong of writes with immediate on the same
device, with a call's header and queue pairs (for warm polling, driven by completion events), and ib_write_lat, where that is
installed, is reported beside it. Client and worker are pinned. Every window has fresh memory,
every result is checked, and the figures are medians: over pairs of windows for overhead and ratio. A row marked noisy says
more of the machine than of rfaas; run it again on a quiet one.

Times are whole round trips, where perftest's latency is half of one.`,
  options: Options,
  examples: [
    ["rfaas bench latency", "8 bytes, hot"],
    [
      "rfaas bench latency -s 1MiB --payload touch",
      "a payload in place costs nothing to call with",
    ],
    ["rfaas bench latency --module lib.so#echo", "what a native function costs to call"],
    [
      "rfaas bench throughput -s 64 --depth 32 --json",
      "calls per second of one worker, for a program",
    ],
  ],
  async run(args, options) {
    const [kind, ...more] = args;
    if (more.length > 0) throw new UsageError(`bench takes one argument; "${more[0]}" is too many`);
    requireOneOf(options, "json", "csv");
    if (options.module !== undefined && kind !== "latency")
      throw new UsageError("--module is for latency; leave it away");
    const format: Format = options.json ? "json" : options.csv ? "csv" : "table";
    const writer = new RowWriter(format);
    const write = (row: Row, warning?: string) => {
      if (warning) log.warn(warning);
      if (row.noisy)
        log.warn(
          `the machine was noisy: the middle half of the pairs spreads over ${row.ratio_p50_quartiles.map((q) => q.toFixed(2)).join(" to ")} times the floor`,
        );
      writer.write(row);
    };
    switch (kind) {
      case "latency":
        return await withNode(options, (rf) => latency(rf, options, write));
      case "throughput":
        return await withNode(options, (rf) => throughput(rf, options, write));
      case "bandwidth":
        return await withNode(options, (rf) => bandwidth(rf, options, write));
      case "cold": {
        const { node = inherited(Options, "node") } = options;
        log.info("cold start: leases and first calls, one after another");
        for (const row of await measureCold({
          iterations: options.iters ?? 20,
          ...(node === undefined ? {} : { node }),
        }))
          write(row);
        return;
      }
      default:
        throw new UsageError(
          `${kind === undefined ? "bench needs to know what to measure" : `"${kind}" cannot be measured`}: latency, throughput, bandwidth or cold; see: rfaas help bench`,
        );
    }
  },
});

async function withNode(options: Options, measure: (rf: Invoker) => Promise<void>): Promise<void> {
  const { node = inherited(Options, "node") } = options;
  await using rf = await invoker({
    ...readFabric(options),
    // A spare host that starts beside a window would be measured with it.
    prewarm: 0,
    ...(node === undefined ? {} : { node }),
  });
  await measure(rf);
}

function sizes(options: Options, fallback: number): number[] {
  requireOneOf(options, "all", "size");
  return options.all ? ALL_SIZES : [options.size ?? fallback];
}

async function latency(
  rf: Invoker,
  options: Options,
  write: (row: Row, warning?: string) => void,
): Promise<void> {
  const mode = options.polling ?? "hot";
  const rates = options.rate !== undefined ? [options.rate] : DEFAULT_RATES[mode];
  const pairs = options.pairs ?? DEFAULT_PAIRS;
  const { verbs } = readFabric(options);
  const floor = floorOf(rf.fabric, verbs);
  const perftest = rf.fabric === "verbs" ? new Perftest(verbs) : undefined;
  for (const bytes of sizes(options, 8)) {
    for (const ratePerS of rates) {
      const iterations = options.iters ?? defaultIterations(rf.fabric, mode, bytes, ratePerS);
      log.info(
        `latency of ${bytes} B, ${mode}${ratePerS ? ` at ${ratePerS} calls/s` : ""}: ${pairs} pairs of ${iterations} calls`,
      );
      const result = await measureLatency(rf, {
        bytes,
        iterations,
        pairs,
        polling: mode,
        payload: options.payload ?? "copy",
        ratePerS,
        floor,
        perftest,
        ...(options.module === undefined ? {} : { target: options.module }),
      });
      write(result.row, result.warning);
    }
  }
}

/** Windows of a few tenths of a second, whatever a call costs. */
function defaultIterations(
  fabric: FabricName,
  mode: string,
  bytes: number,
  ratePerS: number,
): number {
  if (ratePerS > 0) return Math.max(30, Math.ceil(ratePerS * 0.3));
  // A software device moves 20 MiB/s, where the slowest network card moves a hundred times as much.
  if (fabric === "verbs") return Math.max(50, Math.min(2_500, Math.floor(5e7 / (bytes + 20_000))));
  if (mode === "warm") return 500;
  return Math.max(50, Math.min(20_000, Math.floor(2e9 / (bytes + 50_000))));
}

async function throughput(
  rf: Invoker,
  options: Options,
  write: (row: Row, warning?: string) => void,
): Promise<void> {
  const depth = options.depth ?? 32;
  const workers = options.workers ?? 1;
  const { verbs } = readFabric(options);
  for (const bytes of sizes(options, 64)) {
    const iterations = Math.max(
      1000,
      options.iters ?? Math.min(500_000, Math.floor(2e10 / (bytes + 40_000))),
    );
    const pairs = options.pairs ?? DEFAULT_PAIRS;
    log.info(
      `throughput${options.map ? " of a map" : ""} of ${bytes} B, ${depth} in flight on each of ${workers} workers: ${pairs} windows of ${iterations} calls`,
    );
    const result = await measureThroughput(rf, {
      bytes,
      depth,
      workers,
      coresPerWorker: options.coresPerWorker ?? 1,
      iterations,
      pairs,
      polling: options.polling ?? "hot",
      floor: floorOf(rf.fabric, verbs),
      map: options.map ?? false,
    });
    write(result.row, result.warning);
  }
}

async function bandwidth(
  rf: Invoker,
  options: Options,
  write: (row: Row, warning?: string) => void,
): Promise<void> {
  const { verbs } = readFabric(options);
  if (rf.fabric === "shm")
    throw new UsageError(
      "shared memory moves no bytes, so it has no bandwidth to measure; use --fabric verbs",
    );
  const perftest = new Perftest(verbs);
  for (const bytes of sizes(options, 1024 * 1024)) {
    const depth = options.depth ?? Math.max(2, Math.min(16, Math.floor(BANDWIDTH_BYTES / bytes)));
    const iterations = options.iters ?? Math.max(depth, Math.ceil(BANDWIDTH_BYTES / bytes));
    const pairs = options.pairs ?? 5;
    log.info(
      `bandwidth of ${bytes} B inputs, ${depth} in flight: ${pairs} windows of ${iterations} calls`,
    );
    const polling = options.polling ?? "warm";
    write(await measureBandwidth(rf, { bytes, depth, iterations, pairs, polling, perftest }));
  }
}

function readTarget(target: string, what: string): { module: string; name: string } {
  const [module, name] = splitTarget(target);
  if (name === undefined)
    throw new UsageError(`${what} needs a function, as in ${what} ${module}#echo`);
  return { module, name };
}
