/** Bills that earlier runs of a node have left in their journals: of leases that were over, and of such as ended with the node. */
import { readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { countOf } from "../../base/units.ts";
import { reasonOf } from "../../base/system-errors.ts";
import type { UsageReport } from "../../protocol/manager-messages.ts";
import { NODE_LOST } from "../../protocol/usage.ts";
import type { FileLock } from "../../trust/file-lock.ts";
import { type Head, NEXT_SUFFIX, SUFFIX, isOver, parse, takeLock } from "./journal-file.ts";

export interface LeftBills {
  /** The run that has left them. */
  instance: string;
  /** How many it leased: this one may have fewer. */
  cores: number;
  /** The last report of each of its leases. */
  reports: UsageReport[];
  /** The manager has them: takes the journal away. */
  done(): void;
  /** It does not: the journal stays, for another run. */
  stays(): void;
}

/** More than a journal ever has. */
const MAX_BYTES = 2 ** 28;

/** What runs of this node that are over have left for this manager. Never throws: what cannot be read stays, and is logged. */
export function leftBills(
  folder: string,
  own: { node: string; manager: string },
  log: (level: "info" | "warn", message: string) => void,
): LeftBills[] {
  const left: LeftBills[] = [];
  for (const name of namesIn(folder)) {
    const path = join(folder, name);
    try {
      const found = readLeft(path, own, log);
      if (found) left.push(found);
    } catch (error) {
      log("warn", `the journal of bills ${path} cannot be read: ${reasonOf(error)}; it stays`);
    }
  }
  return left;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => name.endsWith(SUFFIX));
  } catch {
    // No node has written any.
    return [];
  }
}

function readLeft(
  path: string,
  own: { node: string; manager: string },
  log: (level: "info" | "warn", message: string) => void,
): LeftBills | undefined {
  if (statSync(path).size > MAX_BYTES) throw new Error("it is larger than any");
  const journal = parse(readFileSync(path, "utf8"));
  if (!journal) {
    log("warn", `${path} is no journal of bills, or its begin is damaged; it stays`);
    return undefined;
  }
  const { head } = journal;
  if (head.node !== own.node) return undefined;
  const lock = head.locked ? takeLock(path) : undefined;
  const over = head.locked ? lock !== undefined : isOver(head);
  if (!over) {
    log("info", `the journal of bills ${path} stays: ${whyLeft(head, over)}`);
    return undefined;
  }
  const left = leftIn(path, journal, own, log, lock);
  if (!left) lock?.release();
  return left;
}

/** Why it is not known to be of a run that is over. */
function whyLeft({ host }: Head, over: boolean | undefined): string {
  if (over === false) return "the run of this node that writes it goes on";
  return `it is of a run on a machine called ${host}, and nothing here says whether that is over; a node of this name hands it in on a machine that is called so`;
}

function leftIn(
  path: string,
  { head, reports, damaged }: NonNullable<ReturnType<typeof parse>>,
  own: { node: string; manager: string },
  log: (level: "info" | "warn", message: string) => void,
  lock: FileLock | undefined,
): LeftBills | undefined {
  if (damaged > 0)
    log("warn", `${countOf(damaged, "damaged line")} of the journal of bills ${path} skipped`);
  const managers = own.manager.split(",");
  // One of several is enough: each has what any of them takes.
  if (!head.manager.split(",").some((one) => managers.includes(one))) {
    if (reports.length > 0)
      log(
        "info",
        `an earlier run of this node has left bills for the manager at ${head.manager} in ${path}; they are handed in by a node that starts with that address`,
      );
    return undefined;
  }
  const done = (): void => {
    for (const file of [path, `${path}${NEXT_SUFFIX}`]) rmSync(file, { force: true });
    lock?.release({ remove: true });
  };
  const stays = (): void => lock?.release();
  const { instance, cores } = head;
  if (reports.length > 0) return { instance, cores, reports: reports.map(ended), done, stays };
  done();
  return undefined;
}

/** A lease that went on has ended with its node: when its cores had been held for as long as it says. */
function ended(report: UsageReport): UsageReport {
  if (report.endedAtMs !== null) return report;
  const { startedAtMs, workers, coresPerWorker = 1, usage } = report;
  const heldMs = usage.allocationCoreNs / (workers * coresPerWorker) / 1e6;
  return { ...report, endedAtMs: startedAtMs + heldMs, reason: NODE_LOST };
}
