import { Type } from "@sinclair/typebox";
import { LAYOUT } from "../../ffi/layout.ts";
import { measureBandwidth } from "../../bench/bandwidth.ts";
import { measureCold } from "../../bench/cold.ts";
import { floorOf } from "../../bench/floor.ts";
import { measureLatency } from "../../bench/latency.ts";
import { Perftest } from "../../bench/perftest.ts";
import { type Format, type Row, RowWriter } from "../../bench/rows.ts";
import { measureThroughput } from "../../bench/throughput.ts";
import { type Invoker, invoker } from "../client/invoker.ts";
import { UsageError } from "../base/errors.ts";
import { type FabricName, MAX_LEASE_CORES } from "../protocol/messages.ts";
import { parseBytes } from "../base/units.ts";
import type { Command } from "./shared/command.ts";
import { log } from "./shared/log.ts";
import { fabricFlags, fabricOptions, readFabric } from "./shared/fabric-options.ts";
import { addressOption, flag, polling, readOptions, size, text, whole } from "./shared/options.ts";
import { splitTarget } from "./shared/target.ts";

const MAX_RATE = 1_000_000;

const Options = Type.Object({
  size: Type.Optional(size),
  all: Type.Optional(flag),
  iters: Type.Optional(whole(1, 100_000_000)),
  pairs: Type.Optional(whole(1, 1000)),
  polling: Type.Optional(polling),
  payload: Type.Optional(
    Type.Union([Type.Literal("copy"), Type.Literal("touch")], {
      errorMessage: "must be copy or touch",
    }),
  ),
  rate: Type.Optional(whole(0, MAX_RATE)),
  depth: Type.Optional(whole(1, 1024)),
  workers: Type.Optional(whole(1, LAYOUT.maxWorkers)),
  coresPerWorker: Type.Optional(whole(1, MAX_LEASE_CORES)),
  module: Type.Optional(text),
  map: Type.Optional(flag),
  node: Type.Optional(text),
  json: Type.Optional(flag),
  csv: Type.Optional(flag),
  ...fabricOptions,
});
type Options = ReturnType<typeof readOptions<typeof Options>>;

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

export const bench: Command = {
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
  options: [
    { flag: "-s, --size <size>", description: "payload each way (default: 8; throughput: 64)" },
    { flag: "-a, --all", description: "latency: all sizes from 2 B to 8 MiB" },
    {
      flag: "-n, --iters <n>",
      description:
        "calls per window (default: 20000 hot, 500 warm; throughput: 500000; cold: rounds, 20)",
    },
    { flag: "--pairs <n>", description: `pairs of windows (default: ${DEFAULT_PAIRS})` },
    { flag: "--polling <mode>", description: "hot, warm or adaptive (default: hot)" },
    {
      flag: "--payload <mode>",
      description:
        "copy: the function reads and writes every byte; touch: the first and last (default: copy)",
    },
    {
      flag: "--rate <calls/s>",
      description:
        "start calls at this rate, 0 for back to back (default: hot 0, warm 5000, adaptive 0, 10000 and 100)",
    },
    {
      flag: "--depth <n>",
      description: "calls in flight per worker (default: throughput 32, bandwidth 16 or 32 MiB)",
    },
    { flag: "--workers <n>", description: "throughput: workers (default: 1)" },
    { flag: "--cores-per-worker <n>", description: "throughput: cores of a worker (default: 1)" },
    { flag: "--map", description: "throughput: through lease.map, an asynchronous iteration" },
    {
      flag: "--module <file#function>",
      description: "latency: measure this echo in place of the built-in one",
    },
    {
      flag: "--node <address>",
      description: "measure a running node (default: $RFAAS_NODE, else a private one)",
    },
    { flag: "--json", description: "one JSON object a row" },
    { flag: "--csv", description: "comma-separated values with a header" },
    ...fabricFlags,
  ],
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
  async run(args, raw) {
    const [kind, ...more] = args;
    if (more.length > 0) throw new UsageError(`bench takes one argument; "${more[0]}" is too many`);
    const options = readOptions(Options, raw);
    if (options.json && options.csv) throw new UsageError("--json and --csv exclude each other");
    if (options.module !== undefined && kind !== "latency")
      throw new UsageError("--module is for latency; leave it away");
    addressOption("--node", options.node, "RFAAS_NODE");
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
        const node = options.node === undefined ? process.env["RFAAS_NODE"] : String(options.node);
        log.info("cold start: leases and first calls, one after another");
        for (const row of await measureCold({
          iterations: options.iters ?? 20,
          ...(node ? { node } : {}),
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
};

async function withNode(options: Options, measure: (rf: Invoker) => Promise<void>): Promise<void> {
  await using rf = await invoker({
    ...readFabric(options),
    // A spare host that starts beside a window would be measured with it.
    prewarm: 0,
    ...(options.node === undefined ? {} : { node: String(options.node) }),
  });
  await measure(rf);
}

function sizes(options: Options, fallback: number): number[] {
  if (options.all && options.size !== undefined)
    throw new UsageError("--all and --size exclude each other");
  if (options.all) return ALL_SIZES;
  const bytes = options.size === undefined ? fallback : parseBytes(options.size, "--size");
  if (bytes > MAX_BYTES)
    throw new UsageError(`--size is at most 1GiB; it is ${JSON.stringify(options.size)}`);
  return [bytes];
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
        ...(options.module === undefined ? {} : { target: readTarget(String(options.module)) }),
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

function readTarget(target: string): { module: string; name: string } {
  const [module, name] = splitTarget(target);
  if (name === undefined)
    throw new UsageError(`--module needs a function, as in --module ${module}#echo`);
  return { module, name };
}
