/**
 * From nothing to a first result: a lease on a waiting host, and on one that must be started. Beside it, what a bare worker
 * thread needs to say its first word.
 */
import { Type } from "@sinclair/typebox";
import { startFunctionWorker } from "../../src/base/workers.ts";
import { openNode } from "../../src/client/invoker.ts";
import type { NodeInvoker } from "../../src/client/node-invoker.ts";
import { environment } from "../environment.ts";
import { itersField } from "../fields.ts";
import { type Row, isNoisy, us } from "../rows.ts";
import { type Bench, defineScenario } from "../scenario.ts";
import { median, quartiles, summarize } from "../statistics.ts";

const DEFAULT_ROUNDS = 20;
const Options = Type.Object({ ...itersField(`rounds, ${DEFAULT_ROUNDS}`) });

interface Phases {
  connect: number;
  lease: number;
  spawn: number;
  load: number;
  first_call: number;
  total: number;
}

interface ColdRow extends Row {
  prewarmed: boolean;
  /** Nanoseconds. */
  phases: Phases;
}

/** One row for waiting hosts, one for hosts that are started on demand (private nodes only). */
export const cold = defineScenario<typeof Options, ColdRow>({
  name: "cold",
  summary: "from a request for a lease to the first result",
  options: Options,
  columns: ({ prewarmed, phases }) => [
    ["mode", prewarmed ? "prewarmed" : "cold"],
    ...Object.entries(phases).map(([name, ns]) => [`${name}[usec]`, us(ns)] as const),
  ],
  async *run(bench, { iters = DEFAULT_ROUNDS }) {
    const { node } = bench.where;
    bench.tell("cold start: leases and first calls, one after another");
    if (node !== undefined)
      return yield { row: await measure(bench, () => openNode({ node }), iters, true) };
    yield { row: await measure(bench, () => openNode({ prewarm: 1 }), iters, true) };
    yield { row: await measure(bench, () => openNode({ prewarm: 0 }), iters, false) };
  },
});

type Echo = typeof import("../../functions/echo/echo.ts");

/** How long a node may take to have its next host waiting. */
const PREWARM_LIMIT_MS = 10_000;

async function measure(
  bench: Bench,
  connect: () => Promise<NodeInvoker>,
  iterations: number,
  prewarmed: boolean,
): Promise<ColdRow> {
  const connectStartedNs = Bun.nanoseconds();
  await using rf = await connect();
  const connectNs = Bun.nanoseconds() - connectStartedNs;
  const rounds: Phases[] = [];
  const threads: number[] = [];
  // The first round pays for lazy loading in the client itself.
  for (let round = 0; round <= iterations; round++) {
    bench.at(round, iterations);
    if (prewarmed) await untilPrewarmed(rf);
    const phases = await measureRound(rf, connectNs);
    if (round > 0) rounds.push(phases);
    if (round > 0) threads.push(await bareThreadNs());
  }
  const totals = rounds.map((phases) => phases.total);
  const total = summarize(Float64Array.from(totals));
  const thread = summarize(Float64Array.from(threads));
  const ratios = rounds.map((phases, i) => phases.total / threads[i]!);
  const spread = quartiles(ratios);
  const phase = (name: keyof Phases) => median(rounds.map((phases) => phases[name]));
  return {
    benchmark: "cold",
    fabric: rf.fabric,
    polling: "hot",
    bytes: 8,
    iterations,
    p50_ns: total.p50,
    p99_ns: total.p99,
    p999_ns: total.p999,
    min_ns: total.min,
    max_ns: total.max,
    mean_ns: total.mean,
    stdev_ns: total.stdev,
    baseline: {
      name: "bare worker thread to its first message",
      p50_ns: thread.p50,
      p99_ns: thread.p99,
    },
    overhead_p50_ns: median(totals.map((ns, i) => ns - threads[i]!)),
    ratio_p50: median(ratios),
    ratio_p99: total.p99 / thread.p99,
    ratio_p50_quartiles: spread,
    pairs: iterations,
    noisy: isNoisy(median(ratios), spread),
    prewarmed,
    phases: {
      connect: connectNs,
      lease: phase("lease"),
      spawn: phase("spawn"),
      load: phase("load"),
      first_call: phase("first_call"),
      total: phase("total"),
    },
    environment: environment(),
  };
}

async function measureRound(rf: NodeInvoker, connect: number): Promise<Phases> {
  const startedNs = Bun.nanoseconds();
  await using lease = await rf.allocate<Echo>("rfaas:echo", { polling: "hot", memory: 4096 });
  const leasedNs = Bun.nanoseconds();
  const input = lease.input(Uint8Array, 8).fill(7);
  const output = lease.output(Uint8Array, 8);
  if (lease.invoke("echo", input, output) !== 8 || output[7] !== 7)
    throw new Error("the first call's echo is wrong");
  const doneNs = Bun.nanoseconds();
  const { spawnNs, loadNs } = lease.phases;
  return {
    connect,
    lease: leasedNs - startedNs - spawnNs - loadNs,
    spawn: spawnNs,
    load: loadNs,
    first_call: doneNs - leasedNs,
    total: doneNs - startedNs,
  };
}

async function untilPrewarmed(rf: NodeInvoker): Promise<void> {
  const until = Date.now() + PREWARM_LIMIT_MS;
  while ((await rf.status()).prewarmedHosts === 0) {
    if (Date.now() > until)
      throw new Error("the node has no waiting host; serve with --prewarm 1 or more");
    await Bun.sleep(5);
  }
}

async function bareThreadNs(): Promise<number> {
  const startedNs = Bun.nanoseconds();
  const worker = startFunctionWorker("bare");
  await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
  const ns = Bun.nanoseconds() - startedNs;
  await worker.terminate();
  return ns;
}
