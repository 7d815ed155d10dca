/**
 * From nothing to a first result: a lease on a waiting host, and on one that must be started. Beside it, what a worker thread of rfaas
 * and an empty thread of the runtime need to say their first word.
 */
import { countOf } from "../../src/base/units.ts";
import { Type } from "@sinclair/typebox";
import { openNode } from "../../src/client/invoker.ts";
import type { NodeInvoker } from "../../src/client/node-invoker.ts";
import { environment } from "../environment.ts";
import { type AtOnce, leasesAtOnce } from "../clients/at-once.ts";
import { itersField, leasesField } from "../fields.ts";
import {
  KEEP_WARM_MS,
  type Phases,
  type Round,
  type Thread,
  bareThread,
  functionThread,
  measureRound,
  measureThread,
} from "../clients/first-result.ts";
import type { Cost } from "../machine/processes.ts";
import { type Column, type Row, isNoisy, us } from "../rows.ts";
import { type Bench, type Measured, defineScenario } from "../scenario.ts";
import { median, quartiles, summarize } from "../statistics.ts";

const DEFAULT_ROUNDS = 20;
const Options = Type.Object({
  ...itersField(`rounds, ${DEFAULT_ROUNDS}`),
  ...leasesField({ otherwise: "none" }),
});

/** Where the host of a lease comes from. */
type Mode = "prewarmed" | "cold" | "kept";

interface ColdRow extends Row {
  prewarmed: boolean;
  /** The host had loaded the module for a former lease (`keepWarmMs`). */
  kept: boolean;
  /** Nanoseconds; of leases at once, connecting and all of them together. */
  phases: Pick<Phases, "connect" | "total"> & Partial<Phases>;
  /** What the host had cost when the lease was asked for; undefined for one that is started then, or is of another user. */
  host_before?: Cost;
  /** The same when the first result was there. */
  host_at_first_result?: Cost;
  /** Of the client, from the request to the first result. */
  client_minor_faults: number;
  /** An empty thread of the runtime, with none of rfaas in it. */
  bare_thread: { p50_ns: number; minor_faults: number };
  ratio_bare_thread: number;
  /** Leases that were all asked for at once: from the requests to the last result, beside one kept lease after another on every core. */
  at_once?: Pick<AtOnce, "leases" | "failed" | "last_ns"> & { ratio: number };
}

/** One row for waiting hosts, one for hosts that are started on demand (private nodes only), one for kept ones. */
export const cold = defineScenario<typeof Options, ColdRow>({
  name: "cold",
  summary: "from a request for a lease to the first result, with what the host and the client cost",
  options: Options,
  columns: (row) => [
    ["mode", row.at_once ? `${row.at_once.leases} at once` : modeOf(row)],
    ...PHASES.map((name) => [`${name}[usec]`, usOrNone(row.phases[name])] as const),
    ...costColumns(columnCost(row)),
    ["client[faults]", String(row.client_minor_faults)],
    ["bare[usec]", us(row.bare_thread.p50_ns)],
    ["ratio(bare)", row.ratio_bare_thread.toFixed(2)],
    ["failed", String(row.at_once?.failed ?? "-")],
  ],
  async *run(bench, { iters = DEFAULT_ROUNDS, leases }) {
    const { node } = bench.where;
    const prewarmed = { ...bench.where, ...(node === undefined ? { prewarm: 1 } : {}) };
    const onDemand = { ...bench.where, ...(node === undefined ? { prewarm: 0 } : {}) };
    bench.tell("cold start: leases and first calls, one after another");
    yield* measure(bench, () => openNode(prewarmed), iters, "prewarmed");
    if (node === undefined) yield* measure(bench, () => openNode(onDemand), iters, "cold");
    yield* measure(bench, () => openNode(onDemand), iters, "kept", leases);
  },
});

const modeOf = ({ prewarmed, kept }: ColdRow): Mode =>
  kept ? "kept" : prewarmed ? "prewarmed" : "cold";

const PHASES = ["connect", "lease", "spawn", "load", "first_call", "total"] as const;
const usOrNone = (ns: number | undefined): string => (ns === undefined ? "-" : us(ns));

/** Of a waiting host until it waits, of one that is started until the first result, of a kept one from the request on. */
const columnCost = (row: ColdRow): Cost | undefined => {
  const { host_before: before, host_at_first_result: after } = row;
  if (row.prewarmed) return before;
  if (!row.kept || before === undefined || after === undefined) return after;
  return {
    minor_faults: after.minor_faults - before.minor_faults,
    cpu_ns: after.cpu_ns - before.cpu_ns,
    private_bytes: after.private_bytes,
  };
};

const costColumns = (cost: Cost | undefined): Column[] => [
  ["host[faults]", cost === undefined ? "-" : String(cost.minor_faults)],
  ["host[cpu msec]", cost === undefined ? "-" : (cost.cpu_ns / 1e6).toFixed(1)],
  ["host[MiB]", cost === undefined ? "-" : (cost.private_bytes / 2 ** 20).toFixed(1)],
];

/** How long a node may take to have its next host waiting. */
const PREWARM_LIMIT_MS = 10_000;

async function* measure(
  bench: Bench,
  connect: () => Promise<NodeInvoker>,
  iterations: number,
  mode: Mode,
  leases?: number,
): AsyncGenerator<Measured<ColdRow>> {
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
    const seen = await measureRound(rf, connectNs, mode === "kept" ? KEEP_WARM_MS : 0);
    const thread = await measureThread(functionThread);
    const bare = await measureThread(bareThread);
    if (round === 0 || seen.kept !== (mode === "kept")) continue;
    measured.push(seen);
    threads.push(thread);
    bareThreads.push(bare);
  }
  if (measured.length === 0)
    return bench.tell(`the node had no ${mode} host for these leases: there is no such row`);
  const rounds = measured.map(({ phases }) => phases);
  const totals = rounds.map((phases) => phases.total);
  const total = summarize(Float64Array.from(totals));
  const thread = summarize(Float64Array.from(threads.map(({ ns }) => ns)));
  const ratios = rounds.map((phases, i) => phases.total / threads[i]!.ns);
  const spread = quartiles(ratios);
  const phase = (name: keyof Phases) => median(rounds.map((phases) => phases[name]));
  const row: ColdRow = {
    benchmark: "cold",
    fabric: rf.fabric,
    polling: "hot",
    bytes: 8,
    iterations: measured.length,
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
    pairs: measured.length,
    noisy: isNoisy(median(ratios), spread),
    prewarmed: mode === "prewarmed",
    kept: mode === "kept",
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
  yield { row };
  if (leases !== undefined) yield await measureAtOnce(bench, rf, leases, row);
}

/** `kept` is the row of kept hosts of the same node. */
async function measureAtOnce(
  bench: Bench,
  rf: NodeInvoker,
  leases: number,
  kept: ColdRow,
): Promise<Measured<ColdRow>> {
  bench.tell(`cold start: ${countOf(leases, "lease")} asked for at once`);
  const cores = (await rf.status()).freeCores;
  const { results, why, client_minor_faults, ...atOnce } = await leasesAtOnce(rf, leases);
  const { failed, last_ns } = atOnce;
  // Two of them share a core no better than they follow each other on it.
  const boundNs = (leases * kept.p50_ns) / cores;
  const ratio = last_ns / boundNs;
  const { host_before: _before, host_at_first_result: _after, phases, ...common } = kept;
  const row: ColdRow = {
    ...common,
    client_minor_faults,
    phases: { connect: phases.connect, total: last_ns },
    iterations: leases - failed,
    ...{ p50_ns: results.p50, p99_ns: results.p99, p999_ns: results.p999 },
    ...{ min_ns: results.min, max_ns: results.max, mean_ns: results.mean },
    stdev_ns: results.stdev,
    baseline: {
      name: "one kept lease after another on every core, to the last result",
      ...{ p50_ns: boundNs, p99_ns: boundNs },
    },
    overhead_p50_ns: last_ns - boundNs,
    ...{ ratio_p50: ratio, ratio_p99: ratio, ratio_p50_quartiles: [ratio, ratio] },
    ...{ pairs: 1, noisy: false },
    ratio_bare_thread: results.p50 / kept.bare_thread.p50_ns,
    at_once: { ...atOnce, ratio },
  };
  return { row, warning: why && `${failed} of ${countOf(leases, "lease")} failed: ${why}` };
}

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
