/**
 * One call in flight: the time from one result to the next, beside a raw C ping-pong of the same bytes between the same cores.
 *
 * Windows of rfaas and of the floor alternate. Each has memory of its own, because the round trip of two cores has levels that
 * are fixed for the life of a mapping; so only the ratio within a pair means something, and the median over pairs is reported.
 * Within a window both go through the same delays (`sweep.ts`), and are compared at the same one.
 */
import { countOf } from "../../src/base/units.ts";
import { Type } from "@sinclair/typebox";
import type { Polling } from "../../ffi/layout.ts";
import { ticksPerNs } from "../../ffi/system.ts";
import { UsageError } from "../../src/base/errors.ts";
import type { NodeInvoker } from "../../src/client/node-invoker.ts";
import { choice, readAs, whole } from "../../src/options/fields.ts";
import type { Floor, Yardstick } from "../../src/fabric/floor.ts";
import { type FabricName, fabricNamed } from "../../src/fabric/registry.ts";
import { EchoClient } from "../clients/echo-client.ts";
import { cpuTimeNs, environment } from "../environment.ts";
import { type Extent, extentInWords, extentOf, pairsOf } from "../extent.ts";
import { allField, itersField, pairsField, pollingField, sizeField, sizesOf } from "../fields.ts";
import { floorOf, yardstickOf } from "../floor.ts";
import { type Placement, benchCpus, isHere, placeClient } from "../placement.ts";
import { type Column, type Row, pairedFields, us } from "../rows.ts";
import { type Bench, type Measured, defineScenario } from "../scenario.ts";
import { median } from "../statistics.ts";
import {
  type Delays,
  type Level,
  type LevelFields,
  type SweepFields,
  type Swept,
  compareAtEqualDelay,
  delaysOf,
  levelFields,
  levelOf,
  sweepFields,
  sweptSummary,
  tellsLevel,
} from "../sweep.ts";

const MAX_RATE = 1_000_000;
const DEFAULT_BYTES = 8;
/** Fewer cannot be called a median. */
const DEFAULT_PAIRS = 15;
const ADAPTIVE_RATES = [0, 10_000, 100];
/** Slow enough that the worker is asleep before every call. */
const WARM_RATE = 5_000;
const DEFAULT_RATES = { hot: [0], warm: [WARM_RATE], adaptive: ADAPTIVE_RATES };

const Options = Type.Object({
  ...sizeField(DEFAULT_BYTES),
  ...allField,
  ...itersField("40000 hot, 500 warm"),
  ...pairsField(DEFAULT_PAIRS),
  ...pollingField("hot"),
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
  module: Type.Optional(
    readAs(targetOf, {
      description: "measure this echo in place of the built-in one",
      placeholder: "file#function",
    }),
  ),
});

type TwiceOf<Tool extends string> = `${Tool}_twice_ns`;

interface LatencyRow extends Row {
  /** `copy`: the function reads and writes all bytes; `touch`: the first and last only. */
  payload: "copy" | "touch";
  /** The function that was measured in place of the built-in one. */
  module?: string;
  /** Calls started per second, and what the worker's process used of one core. */
  rate_per_s?: number;
  cpu_percent?: number;
  /** Of the cores that client and worker have, by the floor's round trip; and the pairs of each level. */
  level?: Level;
  levels?: Partial<Record<Level, LevelFields>>;
  /** What each delay before a store gave. */
  sweep?: SweepFields;
  /** Twice what the fabric's yardstick calls typical, by its name: `ib_write_lat_twice_ns`. */
  [twice: TwiceOf<string>]: number;
}

export const latency = defineScenario<typeof Options, LatencyRow>({
  name: "latency",
  summary: "one call in flight: the round trip, as a client sees it",
  options: Options,
  columns: ({ cpu_percent: cpu, rate_per_s: rate, level, levels, ...row }) => [
    ...(level === undefined ? [] : [["level", `${level}(${levels![level]!.pairs})`] as const]),
    ["floor_99%[usec]", us(row.baseline.p99_ns)],
    ...yardstickColumns(row),
    ...(cpu === undefined
      ? []
      : [["rate[1/s]", rate ? String(rate) : "max"] as const, ["cpu[%]", cpu.toFixed(1)] as const]),
  ],
  async *run(bench, options) {
    await using rf = await bench.open();
    const { polling = "hot", payload = "copy", module: target } = options;
    const extent = extentOf(options, DEFAULT_PAIRS);
    const rates = options.rate !== undefined ? [options.rate] : DEFAULT_RATES[polling];
    const floor = await floorOf(rf.fabric, bench.where);
    const yardstick = await yardstickOf(rf.fabric, bench.where);
    for (const bytes of sizesOf(options, DEFAULT_BYTES))
      for (const ratePerS of rates) {
        const iterations = options.iters ?? defaultIterations(floor, polling, bytes, ratePerS);
        bench.tell(
          `latency of ${bytes} B, ${polling}${ratePerS ? ` at ${ratePerS} calls/s` : ""}: ${extentInWords(extent)} of ${countOf(iterations, "call")}`,
        );
        yield await measureLatency(bench, rf, {
          ...{ bytes, iterations, extent, polling, payload, ratePerS, floor, yardstick },
          ...(target === undefined ? {} : { target }),
        });
      }
  },
});

function targetOf(text: string, what: string): EchoTarget {
  const at = text.lastIndexOf("#");
  if (at > 0 && at < text.length - 1)
    return { module: text.slice(0, at), name: text.slice(at + 1) };
  throw new UsageError(`${what} needs a function, as in ${what} ${text}#echo`);
}

function yardstickColumns(row: Pick<LatencyRow, "fabric" | TwiceOf<string>>): Column[] {
  const tool = fabricNamed(row.fabric)?.yardstick?.latency;
  const twiceNs = tool === undefined ? undefined : row[`${tool}_twice_ns`];
  return twiceNs === undefined ? [] : [[`2x${tool}[usec]`, us(twiceNs)]];
}

/** Windows of a few tenths of a second, for calls of any cost. */
function defaultIterations(floor: Floor, mode: string, bytes: number, ratePerS: number): number {
  if (ratePerS > 0) return Math.max(30, Math.ceil(ratePerS * 0.3));
  return floor.windowCalls(bytes, mode === "warm");
}

interface EchoTarget {
  module: string;
  name: string;
}

export interface LatencyOptions {
  bytes: number;
  /** Calls per window. */
  iterations: number;
  extent: Extent;
  polling: Polling;
  payload: "copy" | "touch";
  /** Start calls at this rate; 0 for back to back. */
  ratePerS: number;
  floor: Floor;
  /** A function that does what the payload asks for; the built-in one where none is named. */
  target?: EchoTarget;
  /** Undefined where the fabric has none, or none is wanted. */
  yardstick: Yardstick | undefined;
}

/** The phase is nothing beside the copies of longer ones. */
const SWEPT_BYTES = 4096;
const YARDSTICK_ITERATIONS = 1000;
const PACED_WARMUP_CALLS = 300;
/** On a beat every round takes its time. */
const PACED_FLOOR_WARMUP = 30;
const FLOOR_WARMUP = 2_000;
/** At each delay of a sweep. */
const SWEPT_FLOOR_WARMUP = 200;

/** Measures one size at one rate. */
export async function measureLatency(
  bench: Pick<Bench, "at">,
  rf: NodeInvoker,
  options: LatencyOptions,
): Promise<Measured<LatencyRow>> {
  const { bytes, extent, polling, ratePerS, target } = options;
  const usable = benchCpus();
  const nsPerTick = 1 / ticksPerNs();
  const delays = delaysOf(sweeps(options) ? options.floor.delaysNs : []);
  const iterations = delays.ns.length * Math.ceil(options.iterations / delays.ns.length);
  const ticks = new Uint32Array(new ArrayBuffer(4 * iterations));
  const windows: Window[] = [];
  const floors: Swept[] = [];
  for (const _ of pairsOf(bench, extent)) {
    const window = await measureWindow(rf, options, delays, usable, ticks);
    windows.push({ ...window, calls: sweptSummary(ticks, delays.calls.took, nsPerTick) });
    const floor = await measureFloorWindow(options, delays, window.placement, ticks);
    floors.push(sweptSummary(floor, delays.floor.took, nsPerTick));
  }
  const calls = windows.map(({ calls }) => calls);
  const compared = calls.map((call, i) => compareAtEqualDelay(call, floors[i]!));
  const sides = [calls.map(({ all }) => all), floors.map(({ all }) => all)] as const;
  const { fabric, placement } = windows[0]!;
  const oneWayNs = await options.yardstick?.latencyNs(bytes, YARDSTICK_ITERATIONS);
  const cpuShares = windows.flatMap(({ cpuShare }) => cpuShare ?? []);
  const row: LatencyRow = {
    benchmark: "latency",
    fabric,
    polling,
    bytes,
    iterations: iterations * windows.length,
    ...pairedFields(...sides, options.floor.name(polling === "warm"), compared),
    ...(delays.ns.length > 1 ? { sweep: sweepFields(delays.ns, calls, floors) } : {}),
    ...(oneWayNs === undefined
      ? {}
      : { [`${fabricNamed(fabric)!.yardstick!.latency}_twice_ns`]: 2 * oneWayNs }),
    payload: options.payload,
    ...(target ? { module: `${target.module}#${target.name}` } : {}),
    ...(ratePerS > 0 ? { rate_per_s: ratePerS } : {}),
    ...(ratePerS > 0 && cpuShares.length > 0 ? { cpu_percent: 100 * median(cpuShares) } : {}),
    environment: environment(),
  };
  if (polling !== "warm" && tellsLevel(options.floor, movedBytes(options))) {
    row.level = levelOf(row.baseline.p50_ns);
    row.levels = levelFields(...sides, compared);
  }
  return { row, warning: placement.warning };
}

/** What a call moves: touching does not move the payload. */
const movedBytes = ({ payload, bytes }: LatencyOptions): number =>
  payload === "touch" ? Math.min(bytes, 8) : bytes;

/** Whether the moment of a store matters: a side spins for it, and nothing but the built-in echo is between. */
const sweeps = (options: LatencyOptions): boolean =>
  options.polling !== "warm" &&
  options.ratePerS === 0 &&
  options.target === undefined &&
  movedBytes(options) <= SWEPT_BYTES;

interface Window {
  calls: Swept;
  fabric: FabricName;
  placement: Placement;
  /** What the worker's process used of one core; undefined where it is of another machine. */
  cpuShare: number | undefined;
}

/** Fills `ticks` with round trips on a fresh lease. */
async function measureWindow(
  rf: NodeInvoker,
  options: LatencyOptions,
  delays: Delays,
  usable: readonly number[],
  ticks: Uint32Array,
): Promise<Omit<Window, "calls">> {
  const { module, name } = targetIn(options, delays);
  await using lease = await rf.allocate(module, {
    polling: options.polling,
    memory: 2 * options.bytes + 4096,
  });
  const client = new EchoClient(lease, {
    ...{ bytes: options.bytes, name, copies: options.payload === "copy" },
    ...{ ratePerS: options.ratePerS, delays, warmUpMs: options.floor.warmUpMs(options.bytes) },
  });
  client.warmUp();
  if (options.ratePerS > 0)
    client.window(ticks.subarray(0, Math.min(ticks.length, PACED_WARMUP_CALLS)));
  const placement = placeClient(lease.cpus, usable);
  const cpuNs = () => (isHere(rf, lease) ? cpuTimeNs(lease.hostPid) : undefined);
  const cpuBeforeNs = cpuNs();
  const startedNs = Bun.nanoseconds();
  client.window(ticks);
  const wallNs = Bun.nanoseconds() - startedNs;
  const cpuAfterNs = cpuNs();
  const cpuShare =
    cpuBeforeNs === undefined || cpuAfterNs === undefined
      ? undefined
      : (cpuAfterNs - cpuBeforeNs) / wallNs;
  return { fabric: lease.fabric, placement, cpuShare };
}

/** The function that is measured: the built-in one that can wait, where there are delays. */
function targetIn({ target, payload }: LatencyOptions, delays: Delays): EchoTarget {
  if (target !== undefined) return target;
  const touches = payload === "touch";
  if (delays.ns.length > 1)
    return { module: "rfaas:paced", name: touches ? "pacedTouch" : "pacedEcho" };
  return { module: "rfaas:echo", name: touches ? "touch" : "echo" };
}

async function measureFloorWindow(
  measured: LatencyOptions,
  delays: Delays,
  { clientCpu, workerCpu }: Placement,
  ticks: Uint32Array<ArrayBuffer>,
): Promise<Uint32Array> {
  const { ratePerS, polling, floor } = measured;
  const count = delays.ns.length;
  const options = {
    bytes: movedBytes(measured),
    warmup: ratePerS > 0 ? PACED_FLOOR_WARMUP : count > 1 ? SWEPT_FLOOR_WARMUP : FLOOR_WARMUP,
    samples: ticks.length / count,
    delays: delays.floor.asked,
    clientCpu,
    echoCpu: workerCpu,
    block: polling === "warm",
    gapNs: ratePerS === 0 ? 0 : Math.round(1e9 / ratePerS),
  };
  return await floor.measure(options, ticks);
}
