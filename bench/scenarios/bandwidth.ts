/**
 * Large inputs, several in flight: bytes per second from client to worker. Windows alternate with runs of the fabric's yardstick on the
 * same device, or with its floor's stream. The worker looks at the first and last byte of each, and the client checks what it saw.
 */
import { countOf } from "../../src/base/units.ts";
import { Type } from "@sinclair/typebox";
import type { Polling } from "../../ffi/layout.ts";
import { UsageError } from "../../src/base/errors.ts";
import type { NodeInvoker } from "../../src/client/node-invoker.ts";
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
import { floorOf, yardstickOf } from "../floor.ts";
import { type Placement, benchCpus, placeClient } from "../placement.ts";
import { type Row, pairedFields } from "../rows.ts";
import { type Bench, type Measured, defineScenario } from "../scenario.ts";
import { type Summary, summarize } from "../statistics.ts";

const DEFAULT_BYTES = 1024 * 1024;
const DEFAULT_PAIRS = 5;
/** In flight, and in one window where the floor does not say. */
const BANDWIDTH_BYTES = 32 * 1024 * 1024;

const Options = Type.Object({
  ...sizeField(DEFAULT_BYTES),
  ...allField,
  ...itersField("256 MiB over TCP, else 32 MiB"),
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
    "large inputs over RDMA or TCP, several in flight: bytes per second, beside a raw C stream over TCP or ib_write_bw over RDMA",
  options: Options,
  columns: ({ fabric, bytes_per_s: rate, baseline_bytes_per_s: baseline, depth }) => [
    ...(baseline === undefined ? COMPARED.map((name) => [name, "-"] as const) : []),
    ["MiB/s", mibPerS(rate)],
    [
      `${fabricNamed(fabric)?.yardstick?.bandwidth ?? "floor"}[MiB/s]`,
      baseline === undefined ? "-" : mibPerS(baseline),
    ],
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
    const beside = await besideCalls(rf.fabric, bench.where);
    const usable = benchCpus();
    for (const bytes of sizesOf(options, DEFAULT_BYTES)) {
      const depth = options.depth ?? Math.max(2, Math.min(16, Math.floor(BANDWIDTH_BYTES / bytes)));
      const iterations = options.iters ?? Math.max(depth, Math.ceil(beside.windowBytes / bytes));
      bench.tell(
        `bandwidth of ${bytes} B inputs, ${depth} in flight: ${extentInWords(extent, "window")} of ${countOf(iterations, "call")}`,
      );
      yield await measureBandwidth(bench, rf, {
        ...{ bytes, depth, iterations, extent, polling, beside, usable },
      });
    }
  },
});

/** The columns that say nothing where there is no tool to compare with. */
const COMPARED = ["floor[usec]", "overhead[usec]", "ratio"];

/** What windows of calls alternate with. */
interface Beside {
  name(block: boolean): string;
  readonly windowBytes: number;
  /** Undefined where it cannot be measured. */
  bytesPerS(options: BandwidthOptions, placement: Placement): Promise<number | undefined>;
}

async function besideCalls(name: FabricName, where: Bench["where"]): Promise<Beside> {
  const { stream } = await floorOf(name, where);
  if (stream !== undefined)
    return {
      name: (block) => stream.name(block),
      windowBytes: stream.windowBytes,
      async bytesPerS({ bytes, depth, iterations, polling }, { clientCpu, workerCpu }) {
        const tookNs = await stream.measure({
          ...{ bytes, buffers: depth, warmup: depth, messages: iterations },
          ...{ clientCpu, takerCpu: workerCpu, block: polling === "warm" },
        });
        return (bytes * iterations * 1e9) / tookNs;
      },
    };
  const yardstick = await yardstickOf(name, where);
  return {
    name: () => fabricNamed(name)?.yardstick?.bandwidth ?? "none",
    windowBytes: BANDWIDTH_BYTES,
    bytesPerS: async ({ bytes, iterations }) =>
      await yardstick?.bytesPerS(bytes, Math.max(iterations, 5)),
  };
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
  beside: Beside;
  /** CPUs that there are before the client is pinned. */
  usable: readonly number[];
}

async function measureBandwidth(
  bench: Bench,
  rf: NodeInvoker,
  options: BandwidthOptions,
): Promise<Measured<BandwidthRow>> {
  const { bytes, depth, iterations, extent, polling, beside } = options;
  const calls: Summary[] = [];
  const floors: Summary[] = [];
  let fabric = rf.fabric;
  let warning: string | undefined;
  for (const _ of pairsOf(bench, extent)) {
    const window = await measureWindow(rf, options);
    ({ fabric } = window);
    ({ warning } = window.placement);
    calls.push(single(window.tookNs / iterations));
    const rate = await beside.bytesPerS(options, window.placement);
    if (rate !== undefined) floors.push(single((bytes / rate) * 1e9));
  }
  const compared = floors.length === calls.length;
  const name = beside.name(polling === "warm");
  const fields = pairedFields(calls, compared ? floors : calls, name);
  const row: BandwidthRow = {
    benchmark: "bandwidth",
    fabric,
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
  return { row, warning };
}

interface Window {
  fabric: FabricName;
  placement: Placement;
  tookNs: number;
}

/** On a lease of its own: a hot worker that waits would take its core from what is measured next. */
async function measureWindow(
  rf: NodeInvoker,
  { bytes, depth, iterations, polling, usable }: BandwidthOptions,
): Promise<Window> {
  await using lease = await rf.allocate<Echo>("rfaas:echo", {
    polling,
    ...streamRoom(bytes, depth),
  });
  const placement = placeClient(lease.cpus, usable);
  const stream = new InputStream(lease, bytes, depth);
  await stream.run(depth);
  const startedNs = Bun.nanoseconds();
  await stream.run(iterations);
  return { fabric: lease.fabric, placement, tookNs: Bun.nanoseconds() - startedNs };
}

const single = (ns: number): Summary => summarize(Float64Array.of(ns));
