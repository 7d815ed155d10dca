/**
 * One call in flight: the time from one result to the next, beside a raw C ping-pong of the same bytes between the same cores.
 *
 * Windows of rfaas and of the floor alternate. Each has memory of its own, because the round trip of two cores has levels that
 * are fixed for the life of a mapping; so only the ratio within a pair means something, and the median over pairs is reported.
 */
import { Type } from "@sinclair/typebox";
import type { Polling } from "../../ffi/layout.ts";
import { tickCounter, ticksPerNs } from "../../ffi/system.ts";
import { UsageError } from "../../src/base/errors.ts";
import type { NodeInvoker } from "../../src/client/node-invoker.ts";
import type { Lease } from "../../src/client/lease/lease.ts";
import { choice, readAs, whole } from "../../src/options/fields.ts";
import type { Floor, Yardstick } from "../../src/fabric/floor.ts";
import { type FabricName, fabricNamed } from "../../src/fabric/registry.ts";
import { cpuTimeNs, environment } from "../environment.ts";
import { allField, itersField, pairsField, pollingField, sizeField, sizesOf } from "../fields.ts";
import { floorOf, yardstickOf } from "../floor.ts";
import { type Placement, benchCpus, placeClient } from "../placement.ts";
import { type Column, type Row, pairedFields, us } from "../rows.ts";
import { type Bench, type Measured, defineScenario } from "../scenario.ts";
import { type Summary, median, summarize } from "../statistics.ts";

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
  ...itersField("20000 hot, 500 warm"),
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
  /** Twice what the fabric's yardstick calls typical, by its name: `ib_write_lat_twice_ns`. */
  [twice: TwiceOf<string>]: number;
}

export const latency = defineScenario<typeof Options, LatencyRow>({
  name: "latency",
  summary: "one call in flight: the round trip, as a client sees it",
  options: Options,
  columns: ({ cpu_percent: cpu, rate_per_s: rate, ...row }) => [
    ...yardstickColumns(row),
    ...(cpu === undefined
      ? []
      : [["rate[1/s]", rate ? String(rate) : "max"] as const, ["cpu[%]", cpu.toFixed(1)] as const]),
  ],
  async *run(bench, options) {
    await using rf = await bench.open();
    const { polling = "hot", pairs = DEFAULT_PAIRS, payload = "copy", module: target } = options;
    const rates = options.rate !== undefined ? [options.rate] : DEFAULT_RATES[polling];
    const floor = await floorOf(rf.fabric, bench.where);
    const yardstick = await yardstickOf(rf.fabric, bench.where);
    for (const bytes of sizesOf(options, DEFAULT_BYTES))
      for (const ratePerS of rates) {
        const iterations = options.iters ?? defaultIterations(floor, polling, bytes, ratePerS);
        bench.tell(
          `latency of ${bytes} B, ${polling}${ratePerS ? ` at ${ratePerS} calls/s` : ""}: ${pairs} pairs of ${iterations} calls`,
        );
        yield await measureLatency(bench, rf, {
          ...{ bytes, iterations, pairs, polling, payload, ratePerS, floor, yardstick },
          ...(target === undefined ? {} : { target }),
        });
      }
  },
});

function targetOf(text: string, what: string): { module: string; name: string } {
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

export interface LatencyOptions {
  bytes: number;
  /** Calls per window. */
  iterations: number;
  pairs: number;
  polling: Polling;
  payload: "copy" | "touch";
  /** Start calls at this rate; 0 for back to back. */
  ratePerS: number;
  floor: Floor;
  /** A function that does what the payload asks for; the built-in one where none is named. */
  target?: { module: string; name: string };
  /** Undefined where the fabric has none, or none is wanted. */
  yardstick: Yardstick | undefined;
}

const BUILT_IN_MODULE = "rfaas:echo";

/** Calls before a window counts, back to back: enough for the JIT's last tier on both sides. */
const WARMUP_CALLS = 60_000;
const YARDSTICK_ITERATIONS = 1000;
const PACED_WARMUP_CALLS = 300;
/** On a beat every round takes its time. */
const PACED_FLOOR_WARMUP = 30;

/** Measures one size at one rate. */
export async function measureLatency(
  bench: Pick<Bench, "at">,
  rf: NodeInvoker,
  options: LatencyOptions,
): Promise<Measured<LatencyRow>> {
  const { bytes, iterations, pairs, polling, ratePerS, target } = options;
  const usable = benchCpus();
  const nsPerTick = 1 / ticksPerNs();
  const ticks = new Uint32Array(new ArrayBuffer(4 * iterations));
  const windows: Window[] = [];
  const floors: Summary[] = [];
  for (let pair = 0; pair < pairs; pair++) {
    bench.at(pair + 1, pairs);
    const window = await measureWindow(rf, options, usable, ticks);
    windows.push({ ...window, calls: summarize(ticks, nsPerTick) });
    floors.push(summarize(await measureFloorWindow(options, window.placement, ticks), nsPerTick));
  }
  const { fabric, placement } = windows[0]!;
  const oneWayNs = await options.yardstick?.latencyNs(bytes, YARDSTICK_ITERATIONS);
  const cpuShares = windows.flatMap(({ cpuShare }) => cpuShare ?? []);
  const row: LatencyRow = {
    benchmark: "latency",
    fabric,
    polling,
    bytes,
    iterations: iterations * pairs,
    ...pairedFields(
      windows.map(({ calls }) => calls),
      floors,
      options.floor.name(polling === "warm"),
    ),
    ...(oneWayNs === undefined
      ? {}
      : { [`${fabricNamed(fabric)!.yardstick!.latency}_twice_ns`]: 2 * oneWayNs }),
    payload: options.payload,
    ...(target ? { module: `${target.module}#${target.name}` } : {}),
    ...(ratePerS > 0 ? { rate_per_s: ratePerS } : {}),
    ...(ratePerS > 0 && cpuShares.length > 0 ? { cpu_percent: 100 * median(cpuShares) } : {}),
    environment: environment(),
  };
  return { row, warning: placement.warning };
}

interface Window {
  calls: Summary;
  fabric: FabricName;
  placement: Placement;
  /** What the worker's process used of one core; undefined where it is of another machine. */
  cpuShare: number | undefined;
}

/** Fills `ticks` with round trips on a fresh lease. */
async function measureWindow(
  rf: NodeInvoker,
  options: LatencyOptions,
  usable: readonly number[],
  ticks: Uint32Array,
): Promise<Omit<Window, "calls">> {
  await using lease = await rf.allocate(options.target?.module ?? BUILT_IN_MODULE, {
    polling: options.polling,
    memory: 2 * options.bytes + 4096,
  });
  const client = new EchoClient(lease, options);
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

async function measureFloorWindow(
  { bytes, payload, ratePerS, polling, floor }: LatencyOptions,
  { clientCpu, workerCpu }: Placement,
  ticks: Uint32Array<ArrayBuffer>,
): Promise<Uint32Array> {
  const options = {
    // Touching does not move the payload.
    bytes: payload === "touch" ? Math.min(bytes, 8) : bytes,
    warmup: ratePerS > 0 ? PACED_FLOOR_WARMUP : 2_000,
    samples: ticks.length,
    clientCpu,
    echoCpu: workerCpu,
    block: polling === "warm",
    gapNs: ratePerS === 0 ? 0 : Math.round(1e9 / ratePerS),
  };
  return await floor.measure(options, ticks);
}

/** Whether the worker's process is of this machine, so that its id means the same here. */
function isHere(rf: NodeInvoker, lease: Lease): boolean {
  return fabricNamed(lease.fabric)!.sharesMemory || rf.address === "private";
}

/** Writes the input, calls, checks the output: every call of every window. */
class EchoClient {
  readonly #lease: Lease;
  readonly #name: string;
  readonly #input: Uint8Array<ArrayBuffer>;
  readonly #output: Uint8Array<ArrayBuffer>;
  readonly #copies: boolean;
  readonly #gapTicks: number;
  readonly #warmUpMs: number;
  readonly #tick = tickCounter();
  #mark = 0;

  constructor(lease: Lease, { bytes, payload, ratePerS, target, floor }: LatencyOptions) {
    this.#warmUpMs = floor.warmUpMs;
    this.#lease = lease;
    this.#name = target?.name ?? (payload === "touch" ? "touch" : "echo");
    this.#input = lease.input(Uint8Array, bytes);
    this.#output = lease.output(Uint8Array, bytes);
    this.#copies = payload === "copy" && bytes > 8;
    this.#gapTicks = ratePerS === 0 ? 0 : (1e9 / ratePerS) * ticksPerNs();
  }

  warmUp(): void {
    const until = Bun.nanoseconds() + this.#warmUpMs * 1e6;
    for (let i = 0; i < WARMUP_CALLS && (i % 256 !== 0 || Bun.nanoseconds() < until); i++)
      this.#call();
  }

  window(ticks: Uint32Array): void {
    if (this.#gapTicks > 0) return this.#pacedWindow(ticks);
    const tick = this.#tick;
    let before = tick();
    for (let i = 0; i < ticks.length; i++) {
      this.#call();
      const now = tick();
      ticks[i] = now - before;
      before = now;
    }
  }

  /** Starts calls on a beat; the wait between them is not counted. */
  #pacedWindow(ticks: Uint32Array): void {
    const tick = this.#tick;
    let begun = tick();
    for (let i = 0; i < ticks.length; i++) {
      while ((tick() - begun) >>> 0 < this.#gapTicks);
      begun = tick();
      this.#call();
      ticks[i] = tick() - begun;
    }
  }

  #call(): void {
    const input = this.#input;
    const output = this.#output;
    const last = input.length - 1;
    const mark = (this.#mark = (this.#mark + 1) & 0xff);
    if (this.#copies) input.fill(mark);
    else {
      input[0] = mark;
      input[last] = mark;
    }
    const written = this.#lease.invoke(this.#name, input, output);
    if (written !== input.length || output[0] !== mark || output[last] !== mark)
      throw new Error(
        `call ${mark} returned ${written} bytes, ${output[0]} .. ${output[last]}: the echo is wrong`,
      );
  }
}
