/**
 * Large inputs, several in flight: bytes per second from client to worker. Windows alternate with runs of the fabric's yardstick on the
 * same device. The worker looks at the first and last byte of each, and the client checks what it saw.
 */
import { countOf } from "../../src/base/units.ts";
import { Type } from "@sinclair/typebox";
import type { Polling } from "../../ffi/layout.ts";
import { UsageError } from "../../src/base/errors.ts";
import type { NodeInvoker } from "../../src/client/node-invoker.ts";
import type { Yardstick } from "../../src/fabric/floor.ts";
import { type FabricName, fabricNamed, namesBetweenMachines } from "../../src/fabric/registry.ts";
import { type Echo, InputStream, streamRoom } from "../clients/input-stream.ts";
import { environment } from "../environment.ts";
import { type Extent, extentInWords, extentOf, pairsOf } from "../extent.ts";
import {
  allField,
  depthField,
  itersField,
  pairsField,
  pollingField,
  sizeField,
  sizesOf,
} from "../fields.ts";
import { yardstickOf } from "../floor.ts";
import { type Column, type Row, pairedFields } from "../rows.ts";
import { type Bench, defineScenario } from "../scenario.ts";
import { type Summary, summarize } from "../statistics.ts";

const DEFAULT_BYTES = 1024 * 1024;
const DEFAULT_PAIRS = 5;
/** In flight, and in one window. */
const BANDWIDTH_BYTES = 32 * 1024 * 1024;

const Options = Type.Object({
  ...sizeField(DEFAULT_BYTES),
  ...allField,
  ...itersField("32 MiB"),
  ...pairsField(DEFAULT_PAIRS),
  ...pollingField("warm"),
  ...depthField("16, or 32 MiB"),
});

interface BandwidthRow extends Row {
  depth: number;
  bytes_per_s: number;
  baseline_bytes_per_s?: number;
}

export const bandwidth = defineScenario<typeof Options, BandwidthRow>({
  name: "bandwidth",
  summary:
    "large inputs over RDMA or TCP, several in flight: bytes per second, over RDMA beside ib_write_bw where that is installed",
  options: Options,
  columns: ({ fabric, bytes_per_s: rate, baseline_bytes_per_s: baseline, depth }) => [
    ...(baseline === undefined ? COMPARED.map((name) => [name, "-"] as const) : []),
    ["MiB/s", mibPerS(rate)],
    ...yardstickColumns(fabric, baseline),
    ["depth", String(depth)],
  ],
  async *run(bench, options) {
    await using rf = await bench.open();
    const { sharesMemory, title } = fabricNamed(rf.fabric)!;
    if (sharesMemory)
      throw new UsageError(
        `${title} moves no bytes, so it has no bandwidth to measure; use --fabric ${namesBetweenMachines}`,
      );
    const { polling = "warm" } = options;
    const extent = extentOf(options, DEFAULT_PAIRS);
    const yardstick = await yardstickOf(rf.fabric, bench.where);
    for (const bytes of sizesOf(options, DEFAULT_BYTES)) {
      const depth = options.depth ?? Math.max(2, Math.min(16, Math.floor(BANDWIDTH_BYTES / bytes)));
      const iterations = options.iters ?? Math.max(depth, Math.ceil(BANDWIDTH_BYTES / bytes));
      bench.tell(
        `bandwidth of ${bytes} B inputs, ${depth} in flight: ${extentInWords(extent, "window")} of ${countOf(iterations, "call")}`,
      );
      const row = await measureBandwidth(bench, rf, {
        ...{ bytes, depth, iterations, extent, polling, yardstick },
      });
      yield { row };
    }
  },
});

/** The columns that say nothing where there is no tool to compare with. */
const COMPARED = ["floor[usec]", "overhead[usec]", "ratio"];

const toolOf = (fabric: FabricName): string => fabricNamed(fabric)?.yardstick?.bandwidth ?? "none";

function yardstickColumns(fabric: FabricName, bytesPerS: number | undefined): Column[] {
  const tool = fabricNamed(fabric)?.yardstick?.bandwidth;
  if (tool === undefined) return [];
  return [[`${tool}[MiB/s]`, bytesPerS === undefined ? "-" : mibPerS(bytesPerS)]];
}

const mibPerS = (bytesPerS: number): string => (bytesPerS / 2 ** 20).toFixed(1);

interface BandwidthOptions {
  bytes: number;
  /** Calls in flight. */
  depth: number;
  /** Calls per window. */
  iterations: number;
  extent: Extent;
  polling: Polling;
  /** Undefined where there is none to compare with. */
  yardstick: Yardstick | undefined;
}

async function measureBandwidth(
  bench: Bench,
  rf: NodeInvoker,
  options: BandwidthOptions,
): Promise<BandwidthRow> {
  const { bytes, depth, iterations, extent, polling, yardstick } = options;
  const calls: Summary[] = [];
  const floors: Summary[] = [];
  await using lease = await rf.allocate<Echo>("rfaas:echo", {
    polling,
    ...streamRoom(bytes, depth),
  });
  const stream = new InputStream(lease, bytes, depth);
  await stream.run(depth);
  for (const _ of pairsOf(bench, extent)) {
    const startedNs = Bun.nanoseconds();
    await stream.run(iterations);
    calls.push(single((Bun.nanoseconds() - startedNs) / iterations));
    const rate = await yardstick?.bytesPerS(bytes, Math.max(iterations, 5));
    if (rate !== undefined) floors.push(single((bytes / rate) * 1e9));
  }
  const compared = floors.length === calls.length;
  const fields = pairedFields(calls, compared ? floors : calls, toolOf(lease.fabric));
  return {
    benchmark: "bandwidth",
    fabric: lease.fabric,
    polling,
    bytes,
    iterations: iterations * calls.length,
    ...fields,
    ...(compared ? {} : { baseline: { name: "none", p50_ns: 0, p99_ns: 0 } }),
    depth,
    bytes_per_s: bytes / (fields.p50_ns / 1e9),
    ...(compared ? { baseline_bytes_per_s: bytes / (fields.baseline.p50_ns / 1e9) } : {}),
    environment: environment(),
  };
}

const single = (ns: number): Summary => summarize(Float64Array.of(ns));
