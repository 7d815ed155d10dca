/**
 * What a node can have billed at all. The manager grants no lease, so it takes a node's word for whose it was and what it used: who has stolen
 * a node's token, or its machine, could bill any sum with one message. These bounds leave what cores allow.
 *
 * How long cores were held comes from a clock that nothing sets. The times of begin and end come from one that is wrong on some machines, and
 * is put right while leases go on: they bound no sum, and those that cannot be are put right here.
 */
import { type Clock, SYSTEM_CLOCK } from "../../base/clock.ts";
import { MAX_NODE_CORES, type UsageReport } from "../../protocol/manager-messages.ts";
import { possibleCounts } from "../../protocol/usage.ts";

const HOUR_MS = 3_600_000;
/** Clocks of machines differ by less, unless one is wrong. */
const CLOCKS_DIFFER_MS = HOUR_MS;
/** What was measured a moment later, or from another begin. */
const MEASURED_APART_NS = 1e6 * HOUR_MS;
/** A longer lease is billed for so long. */
const MAX_LEASE_MS = 400 * 24 * HOUR_MS;
const MAX_NODES = 16_384;
/** Of one node, that are remembered. */
const MAX_LEASES = 4_096;
const MAX_TOLD = 1_024;

/** Why a node with so many cores can have no such bill; undefined when it can. */
export function whyImplausible(report: UsageReport, cores: number): string | undefined {
  const { usage } = report;
  const held = heldCores(report);
  if (held > cores) return `it has ${held} cores, and the node ${cores}`;
  // Children, and threads of the engine, may run on others than the lease's.
  const lastedNs = usage.allocationCoreNs / held + MEASURED_APART_NS;
  if (usage.executionNs + usage.pollingNs > MAX_NODE_CORES * lastedNs)
    return "no machine has that much CPU time";
  return undefined;
}

/** The bill as it can be, and what of it could not. */
export function putRight(
  report: UsageReport,
  nowMs: number,
): { report: UsageReport; wrong: string[] } {
  const wrong: string[] = [];
  const held = heldCores(report);
  const usage = { ...report.usage };
  const mostNs = held * MAX_LEASE_MS * 1e6;
  if (usage.allocationCoreNs > mostNs) {
    usage.allocationCoreNs = mostNs;
    wrong.push("a lease is billed for 400 days at most");
  }
  const heldMs = usage.allocationCoreNs / held / 1e6;
  const workerNs = report.workers * (1e6 * heldMs + MEASURED_APART_NS);
  const counts = possibleCounts(usage, workerNs);
  if (counts.calls < usage.calls || counts.bytes < usage.bytes)
    wrong.push("its workers cannot have answered so many calls, or so many bytes");
  Object.assign(usage, counts);
  let { startedAtMs, endedAtMs } = report;
  const cannotBe = (atMs: number): boolean =>
    atMs > nowMs + CLOCKS_DIFFER_MS || atMs < nowMs - MAX_LEASE_MS - CLOCKS_DIFFER_MS;
  if (endedAtMs !== null && cannotBe(endedAtMs)) endedAtMs = nowMs;
  const untilMs = endedAtMs ?? nowMs;
  // Who claims that cores were held for long claims that for a time that is past.
  if (cannotBe(startedAtMs) || startedAtMs + heldMs > untilMs + CLOCKS_DIFFER_MS)
    startedAtMs = untilMs - heldMs;
  if (startedAtMs !== report.startedAtMs || endedAtMs !== report.endedAtMs)
    wrong.push("its begin and end are of a clock that is wrong");
  return { report: { ...report, startedAtMs, endedAtMs, usage }, wrong };
}

const heldCores = ({ workers, coresPerWorker = 1 }: UsageReport): number =>
  workers * coresPerWorker;

/** What the leases of a node have held together, in all runs that were announced by its name: they have the same cores. */
interface Sums {
  heldCoreNs: number;
  heardAtMs: number;
  /** The most that a run had. */
  cores: number;
  /** What each has held so far: of those that were reported last. */
  byLease: Map<string, number>;
}

/** Keeps bills that cannot be out of the ledger, puts right what can be, and says so. */
export class Plausible {
  readonly #log: (level: "warn", message: string) => void;
  readonly #clock: Pick<Clock, "wallMs">;
  readonly #nodes = new Map<string, Sums>();
  /** Leases of which it was said, the last ones. */
  readonly #told = new Set<string>();

  constructor(
    log: (level: "warn", message: string) => void,
    clock: Pick<Clock, "wallMs"> = SYSTEM_CLOCK,
  ) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Those that a node of this name, in a run with so many cores, can have. */
  of(node: string, cores: number, reports: readonly UsageReport[]): UsageReport[] {
    const nowMs = this.#clock.wallMs();
    const sums = this.#nodes.get(node) ?? newSums(nowMs);
    sums.cores = Math.max(sums.cores, cores);
    // The last one that has reported goes last.
    this.#nodes.delete(node);
    this.#nodes.set(node, sums);
    if (this.#nodes.size > MAX_NODES) this.#nodes.delete(this.#nodes.keys().next().value!);
    const possible: UsageReport[] = [];
    for (const told of reports) {
      const { report, wrong } = putRight(told, nowMs);
      const why = whyImplausible(report, cores) ?? whyTogether(sums, report, nowMs);
      if (why === undefined) possible.push(report);
      if (why !== undefined) this.#tell(told, `is not taken: ${why}`);
      else if (wrong.length > 0) this.#tell(told, `is taken as it can be: ${wrong.join("; ")}`);
    }
    return possible;
  }

  #tell({ lease, node, user, usage }: UsageReport, what: string): void {
    if (this.#told.has(lease)) return;
    if (this.#told.size === MAX_TOLD) this.#told.clear();
    this.#told.add(lease);
    this.#log(
      "warn",
      `a bill of node ${node} for lease ${lease} of ${user}, over ${Math.round(usage.allocationCoreNs / 1e9)} core seconds, ${what}; see whether the clock of that machine is right, and who has the node's token`,
    );
  }
}

const newSums = (nowMs: number): Sums => ({
  heldCoreNs: 0,
  cores: 0,
  heardAtMs: nowMs,
  byLease: new Map(),
});

/** Takes a report into what its node has held, where there is room for it. */
function whyTogether(sums: Sums, { lease, usage }: UsageReport, nowMs: number): string | undefined {
  const before = sums.byLease.get(lease) ?? 0;
  const held = Math.max(before, usage.allocationCoreNs);
  const heldCoreNs = sums.heldCoreNs + held - before;
  // It may have gone without a manager for long. An old lease whose report comes once more counts twice.
  const most = 2 * sums.cores * 1e6 * (Math.max(0, nowMs - sums.heardAtMs) + MAX_LEASE_MS);
  if (heldCoreNs > most) return "its node's leases have held more cores than the node has";
  sums.byLease.delete(lease);
  sums.byLease.set(lease, held);
  if (sums.byLease.size > MAX_LEASES) sums.byLease.delete(sums.byLease.keys().next().value!);
  sums.heldCoreNs = heldCoreNs;
  return undefined;
}
