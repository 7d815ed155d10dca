/**
 * One call in flight: the time from one result to the next, beside a raw C ping-pong of the same bytes between the same cores.
 *
 * Windows of rfaas and of the floor alternate. Each has memory of its own, because the round trip of two cores has levels that
 * are fixed for the life of a mapping; so only the ratio within a pair means something, and the median over pairs is reported.
 */
import type { Polling } from "../ffi/layout.ts";
import { tickCounter, ticksPerNs } from "../ffi/system.ts";
import type { Invoker } from "../src/client/invoker.ts";
import type { Lease } from "../src/client/lease/lease.ts";
import type { FabricName } from "../src/protocol/messages.ts";
import type { Floor } from "./floor.ts";
import { cpuTimeNs, environment } from "./environment.ts";
import { type Placement, benchCpus, placeClient } from "./placement.ts";
import type { Perftest } from "./perftest.ts";
import { type Row, pairedFields } from "./rows.ts";
import { type Summary, median, summarize } from "./statistics.ts";

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
  /** Over verbs, where it is installed. */
  perftest: Perftest | undefined;
}

const BUILT_IN_MODULE = "rfaas:echo";

/** Calls before a window counts, back to back: enough for the JIT's last tier on both sides. */
const WARMUP_CALLS = 60_000;
const WARMUP_MS = { shm: 250, verbs: 1500 };
const PERFTEST_ITERATIONS = 1000;
const PACED_WARMUP_CALLS = 300;
/** On a beat every round takes its time. */
const PACED_FLOOR_WARMUP = 30;

export interface LatencyResult {
  row: Row;
  warning: string | undefined;
}

/** Measures one size. Throws when a result is wrong. */
export async function measureLatency(rf: Invoker, options: LatencyOptions): Promise<LatencyResult> {
  const { bytes, iterations, pairs, polling } = options;
  const usable = benchCpus();
  const nsPerTick = 1 / ticksPerNs();
  const ticks = new Uint32Array(new ArrayBuffer(4 * iterations));
  const calls: Summary[] = [];
  const floors: Summary[] = [];
  const cpuShares: number[] = [];
  let placement: Placement | undefined;
  let fabric: FabricName = "shm";

  for (let pair = 0; pair < pairs; pair++) {
    {
      await using lease = await rf.allocate(options.target?.module ?? BUILT_IN_MODULE, {
        polling,
        memory: 2 * bytes + 4096,
      });
      fabric = lease.fabric;
      const client = new EchoClient(lease, options);
      client.warmUp();
      if (options.ratePerS > 0)
        client.window(ticks.subarray(0, Math.min(iterations, PACED_WARMUP_CALLS)));
      placement ??= placeClient(lease.cpus, usable);
      const cpuBeforeNs = isHere(rf, lease) ? cpuTimeNs(lease.hostPid) : undefined;
      const startedNs = Bun.nanoseconds();
      client.window(ticks);
      const wallNs = Bun.nanoseconds() - startedNs;
      const cpuAfterNs = cpuBeforeNs === undefined ? undefined : cpuTimeNs(lease.hostPid);
      if (cpuBeforeNs !== undefined && cpuAfterNs !== undefined)
        cpuShares.push((cpuAfterNs - cpuBeforeNs) / wallNs);
      calls.push(summarize(ticks, nsPerTick));
    }
    const blocking = polling === "warm";
    const { clientCpu, workerCpu } = placement;
    const floorOptions = {
      // Touching does not move the payload.
      bytes: options.payload === "touch" ? Math.min(bytes, 8) : bytes,
      warmup: options.ratePerS > 0 ? PACED_FLOOR_WARMUP : 2_000,
      samples: iterations,
      clientCpu,
      echoCpu: workerCpu,
      block: blocking,
      gapNs: options.ratePerS === 0 ? 0 : Math.round(1e9 / options.ratePerS),
    };
    floors.push(summarize(await options.floor.measure(floorOptions, ticks), nsPerTick));
  }

  const oneWayNs =
    fabric === "verbs" ? await options.perftest?.latencyNs(bytes, PERFTEST_ITERATIONS) : undefined;
  const row: Row = {
    benchmark: "latency",
    fabric,
    polling,
    bytes,
    iterations: iterations * pairs,
    ...pairedFields(calls, floors, options.floor.name(polling === "warm")),
    ...(oneWayNs === undefined ? {} : { ib_write_lat_twice_ns: 2 * oneWayNs }),
    payload: options.payload,
    ...(options.target ? { module: `${options.target.module}#${options.target.name}` } : {}),
    ...(options.ratePerS > 0 ? { rate_per_s: options.ratePerS } : {}),
    ...(options.ratePerS > 0 && cpuShares.length > 0
      ? { cpu_percent: 100 * median(cpuShares) }
      : {}),
    environment: environment(),
  };
  return { row, warning: placement?.warning };
}

/** Whether the worker's process is of this machine, so that its id means the same here. */
function isHere(rf: Invoker, lease: Lease): boolean {
  return lease.fabric === "shm" || rf.node === "private";
}

/** Writes the input, calls, checks the output: every call of every window. */
class EchoClient {
  readonly #lease: Lease;
  readonly #name: string;
  readonly #input: Uint8Array<ArrayBuffer>;
  readonly #output: Uint8Array<ArrayBuffer>;
  readonly #copies: boolean;
  readonly #gapTicks: number;
  readonly #tick = tickCounter();
  #mark = 0;

  constructor(lease: Lease, { bytes, payload, ratePerS, target }: LatencyOptions) {
    this.#lease = lease;
    this.#name = target?.name ?? (payload === "touch" ? "touch" : "echo");
    this.#input = lease.input(Uint8Array, bytes);
    this.#output = lease.output(Uint8Array, bytes);
    this.#copies = payload === "copy" && bytes > 8;
    this.#gapTicks = ratePerS === 0 ? 0 : (1e9 / ratePerS) * ticksPerNs();
  }

  warmUp(): void {
    const until = Bun.nanoseconds() + WARMUP_MS[this.#lease.fabric] * 1e6;
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
