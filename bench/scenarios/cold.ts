/**
 * From nothing to a first result: a lease on a waiting host, and on one that must be started. Beside it, what a worker thread of rfaas
 * and an empty thread of the runtime need to say their first word.
 */
import { Type } from "@sinclair/typebox";
import type { Worker } from "node:worker_threads";
import { startBareThread, startFunctionWorker } from "../../src/base/workers.ts";
import { openNode } from "../../src/client/invoker.ts";
import type { NodeInvoker } from "../../src/client/node-invoker.ts";
import { environment } from "../environment.ts";
import { type Cost, costOf, costsOfDescendants } from "../machine/processes.ts";
import { isHere } from "../placement.ts";
import { itersField } from "../fields.ts";
import { type Column, type Row, isNoisy, us } from "../rows.ts";
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

/** Where the host of a lease comes from. */
type Mode = "prewarmed" | "cold";

interface ColdRow extends Row {
  prewarmed: boolean;
  /** Nanoseconds. */
  phases: Phases;
  /** What the host had cost when the lease was asked for; undefined for one that is started then, or is of another user. */
  host_before?: Cost;
  /** The same when the first result was there. */
  host_at_first_result?: Cost;
  /** Of the client, from the request to the first result. */
  client_minor_faults: number;
  /** An empty thread of the runtime, with none of rfaas in it. */
  bare_thread: { p50_ns: number; minor_faults: number };
  ratio_bare_thread: number;
}

/** One row for waiting hosts, one for hosts that are started on demand (private nodes only). */
export const cold = defineScenario<typeof Options, ColdRow>({
  name: "cold",
  summary: "from a request for a lease to the first result, with what the host and the client cost",
  options: Options,
  columns: ({ prewarmed, phases, ...row }) => [
    ["mode", modeOf(prewarmed)],
    ...Object.entries(phases).map(([name, ns]) => [`${name}[usec]`, us(ns)] as const),
    ...costColumns(prewarmed ? row.host_before : row.host_at_first_result),
    ["client[faults]", String(row.client_minor_faults)],
    ["bare[usec]", us(row.bare_thread.p50_ns)],
    ["ratio(bare)", row.ratio_bare_thread.toFixed(2)],
  ],
  async *run(bench, { iters = DEFAULT_ROUNDS }) {
    const { node } = bench.where;
    bench.tell("cold start: leases and first calls, one after another");
    if (node !== undefined)
      return yield { row: await measure(bench, () => openNode({ node }), iters, "prewarmed") };
    yield { row: await measure(bench, () => openNode({ prewarm: 1 }), iters, "prewarmed") };
    yield { row: await measure(bench, () => openNode({ prewarm: 0 }), iters, "cold") };
  },
});

const modeOf = (prewarmed: boolean): Mode => (prewarmed ? "prewarmed" : "cold");

/** Of a waiting host until it waits, of another one until the first result. */
const costColumns = (cost: Cost | undefined): Column[] => [
  ["host[faults]", cost === undefined ? "-" : String(cost.minor_faults)],
  ["host[cpu msec]", cost === undefined ? "-" : (cost.cpu_ns / 1e6).toFixed(1)],
  ["host[MiB]", cost === undefined ? "-" : (cost.private_bytes / 2 ** 20).toFixed(1)],
];

type Echo = typeof import("../../functions/echo/echo.ts");

/** How long a node may take to have its next host waiting. */
const PREWARM_LIMIT_MS = 10_000;

async function measure(
  bench: Bench,
  connect: () => Promise<NodeInvoker>,
  iterations: number,
  mode: Mode,
): Promise<ColdRow> {
  const connectStartedNs = Bun.nanoseconds();
  await using rf = await connect();
  const connectNs = Bun.nanoseconds() - connectStartedNs;
  const measured: Round[] = [];
  const threads: Thread[] = [];
  const bareThreads: Thread[] = [];
  // The first round pays for lazy loading in the client itself.
  for (let round = 0; round <= iterations; round++) {
    bench.at(round, iterations);
    if (mode === "prewarmed") await untilPrewarmed(rf);
    const seen = await measureRound(rf, connectNs);
    const thread = await measureThread(() => startFunctionWorker("bare"));
    const bare = await measureThread(startBareThread);
    if (round === 0) continue;
    measured.push(seen);
    threads.push(thread);
    bareThreads.push(bare);
  }
  const rounds = measured.map(({ phases }) => phases);
  const totals = rounds.map((phases) => phases.total);
  const total = summarize(Float64Array.from(totals));
  const thread = summarize(Float64Array.from(threads.map(({ ns }) => ns)));
  const ratios = rounds.map((phases, i) => phases.total / threads[i]!.ns);
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
      name: "worker thread of rfaas to its first message",
      p50_ns: thread.p50,
      p99_ns: thread.p99,
    },
    overhead_p50_ns: median(totals.map((ns, i) => ns - threads[i]!.ns)),
    ratio_p50: median(ratios),
    ratio_p99: total.p99 / thread.p99,
    ratio_p50_quartiles: spread,
    pairs: iterations,
    noisy: isNoisy(median(ratios), spread),
    prewarmed: mode === "prewarmed",
    ...costsOf(measured),
    client_minor_faults: Math.round(median(measured.map(({ clientFaults }) => clientFaults))),
    bare_thread: {
      p50_ns: median(bareThreads.map(({ ns }) => ns)),
      minor_faults: Math.round(median(bareThreads.map(({ minorFaults }) => minorFaults))),
    },
    ratio_bare_thread: median(totals.map((ns, i) => ns / bareThreads[i]!.ns)),
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

interface Round {
  phases: Phases;
  before: Cost | undefined;
  atFirstResult: Cost | undefined;
  clientFaults: number;
}

async function measureRound(rf: NodeInvoker, connect: number): Promise<Round> {
  const hosts = costsOfDescendants();
  const faultsBefore = ownFaults();
  const startedNs = Bun.nanoseconds();
  await using lease = await rf.allocate<Echo>("rfaas:echo", { polling: "hot", memory: 4096 });
  const leasedNs = Bun.nanoseconds();
  const input = lease.input(Uint8Array, 8).fill(7);
  const output = lease.output(Uint8Array, 8);
  if (lease.invoke("echo", input, output) !== 8 || output[7] !== 7)
    throw new Error("the first call's echo is wrong");
  const doneNs = Bun.nanoseconds();
  const clientFaults = ownFaults() - faultsBefore;
  const { spawnNs, loadNs } = lease.phases;
  return {
    clientFaults,
    before: hosts.get(lease.hostPid),
    // Elsewhere the number may be that of a process here.
    atFirstResult: isHere(rf, lease) ? costOf(lease.hostPid) : undefined,
    phases: {
      connect,
      lease: leasedNs - startedNs - spawnNs - loadNs,
      spawn: spawnNs,
      load: loadNs,
      first_call: doneNs - leasedNs,
      total: doneNs - startedNs,
    },
  };
}

/** Of this process, all of its threads. */
const ownFaults = (): number => process.resourceUsage().minorPageFault;

/** The medians of what is known. */
function costsOf(rounds: readonly Round[]): Pick<ColdRow, "host_before" | "host_at_first_result"> {
  const medianCost = (costs: readonly Cost[]): Cost => {
    const of = (key: keyof Cost) => Math.round(median(costs.map((cost) => cost[key])));
    return {
      minor_faults: of("minor_faults"),
      cpu_ns: of("cpu_ns"),
      private_bytes: of("private_bytes"),
    };
  };
  const before = rounds.flatMap((round) => round.before ?? []);
  const after = rounds.flatMap((round) => round.atFirstResult ?? []);
  return {
    ...(before.length > 0 ? { host_before: medianCost(before) } : {}),
    ...(after.length > 0 ? { host_at_first_result: medianCost(after) } : {}),
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

interface Thread {
  ns: number;
  minorFaults: number;
}

/** From the start of a thread to its first message. */
async function measureThread(start: () => Worker): Promise<Thread> {
  const faultsBefore = ownFaults();
  const startedNs = Bun.nanoseconds();
  const worker = start();
  await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
  const ns = Bun.nanoseconds() - startedNs;
  const minorFaults = ownFaults() - faultsBefore;
  await worker.terminate();
  return { ns, minorFaults };
}
