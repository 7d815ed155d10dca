/**
 * What a node can have billed at all. The manager grants no lease, so it takes a node's word for whose it was and what it used: who has stolen
 * a node's token, or its machine, could bill any sum with one message. These bounds leave what cores and clocks allow.
 */
import { type Clock, SYSTEM_CLOCK } from "../../base/clock.ts";
import { MAX_NODE_CORES, type UsageReport } from "../../protocol/manager-messages.ts";

const HOUR_MS = 3_600_000;
/** Clocks of machines differ, and are set while leases go on. */
const CLOCKS_DIFFER_MS = HOUR_MS;
/** No call takes less. */
const CALL_NS = 10;
/** No lease lasts longer. */
const MAX_LEASE_MS = 400 * 24 * HOUR_MS;
const MAX_RUNS = 16_384;
/** Of one run, that are remembered. */
const MAX_LEASES = 4_096;
const MAX_TOLD = 1_024;
/** An input and an output, each as long as memory of a lease can be. */
const CALL_BYTES = 2 * 2 ** 32;

/** Why a node with so many cores can have no such bill at this time; undefined when it can. */
export function whyImplausible(
  report: UsageReport,
  cores: number,
  nowMs: number,
): string | undefined {
  const { workers, coresPerWorker = 1, startedAtMs, endedAtMs, usage } = report;
  const held = workers * coresPerWorker;
  if (held > cores) return `it has ${held} cores, and the node ${cores}`;
  if (startedAtMs > nowMs + CLOCKS_DIFFER_MS) return "it has not begun yet";
  if (startedAtMs < nowMs - MAX_LEASE_MS) return "it began too long ago";
  if ((endedAtMs ?? 0) > nowMs + CLOCKS_DIFFER_MS) return "it has not ended yet";
  const lastedNs = 1e6 * (Math.max(0, (endedAtMs ?? nowMs) - startedAtMs) + CLOCKS_DIFFER_MS);
  if (usage.allocationCoreNs > held * lastedNs) return "it held its cores for longer than it was";
  // Children, and threads of the engine, may run on others than the lease's.
  if (usage.executionNs + usage.pollingNs > MAX_NODE_CORES * lastedNs)
    return "no machine has that much CPU time";
  if (usage.calls > (workers * lastedNs) / CALL_NS) return "no worker answers so many calls";
  if (usage.bytes > usage.calls * CALL_BYTES) return "no call has so many bytes";
  return undefined;
}

/** What the leases of one run of a node have held together. */
interface Run {
  heldCoreNs: number;
  earliestMs: number;
  /** What each has held so far: of those that were reported last. */
  byLease: Map<string, number>;
}

/** Keeps bills that cannot be out of the ledger, and says so. */
export class Plausible {
  readonly #log: (level: "warn", message: string) => void;
  readonly #clock: Pick<Clock, "wallMs">;
  readonly #runs = new Map<string, Run>();
  /** Leases of which it was said, the last ones. */
  readonly #told = new Set<string>();

  constructor(
    log: (level: "warn", message: string) => void,
    clock: Pick<Clock, "wallMs"> = SYSTEM_CLOCK,
  ) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Those that a run of a node, with so many cores, can have. */
  of(instance: string, cores: number, reports: readonly UsageReport[]): UsageReport[] {
    const nowMs = this.#clock.wallMs();
    const run = this.#runs.get(instance) ?? newRun(nowMs);
    // The last one that has reported goes last.
    this.#runs.delete(instance);
    this.#runs.set(instance, run);
    if (this.#runs.size > MAX_RUNS) this.#runs.delete(this.#runs.keys().next().value!);
    return reports.filter((report) => {
      const why = whyImplausible(report, cores, nowMs) ?? whyTogether(run, report, cores, nowMs);
      if (why !== undefined) this.#tell(report, why);
      return why === undefined;
    });
  }

  #tell({ lease, node, user, usage }: UsageReport, why: string): void {
    if (this.#told.has(lease)) return;
    if (this.#told.size === MAX_TOLD) this.#told.clear();
    this.#told.add(lease);
    this.#log(
      "warn",
      `a bill of node ${node} for lease ${lease} of ${user}, over ${Math.round(usage.allocationCoreNs / 1e9)} core seconds, is not taken: ${why}; see whether the clock of that machine is right, and who has the node's token`,
    );
  }
}

const newRun = (nowMs: number): Run => ({
  heldCoreNs: 0,
  earliestMs: nowMs,
  byLease: new Map(),
});

/** Takes a report into what its run has held, where there is room for it. */
function whyTogether(
  run: Run,
  { lease, startedAtMs, usage }: UsageReport,
  cores: number,
  nowMs: number,
): string | undefined {
  const before = run.byLease.get(lease) ?? 0;
  const held = Math.max(before, usage.allocationCoreNs);
  const heldCoreNs = run.heldCoreNs + held - before;
  const earliestMs = Math.min(run.earliestMs, startedAtMs);
  // An old lease whose report comes once more counts twice.
  const most = 2 * cores * 1e6 * (nowMs - earliestMs + CLOCKS_DIFFER_MS);
  if (heldCoreNs > most) return "its node's leases have held more cores than the node has";
  run.byLease.delete(lease);
  run.byLease.set(lease, held);
  if (run.byLease.size > MAX_LEASES) run.byLease.delete(run.byLease.keys().next().value!);
  Object.assign(run, { heldCoreNs, earliestMs });
  return undefined;
}
