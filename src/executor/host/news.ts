/**
 * Log lines and progress on their way to a client that may read slowly. The host drops and counts those that the connection has no
 * room for, and sends the count as soon as it has: back-pressure from the log must not end a lease.
 */
import type { LogLine, ProgressReport } from "../../protocol/module-report.ts";

/** The connection that they take. */
export interface NewsWay {
  /** Return whether it was sent. */
  log(line: LogLine): boolean;
  progress(report: ProgressReport): boolean;
  /** Calls `listener` once, when there is room again. */
  whenRoom(listener: () => void): void;
}

export class News {
  readonly #way: NewsWay;
  /** By worker: lines that were not sent since one was. */
  readonly #lines = new Map<number, number>();
  /** By worker and slot: reports of a call that were not sent since one was. */
  readonly #reports = new Map<string, { sequence: number; dropped: number }>();
  #waits = false;

  constructor(way: NewsWay) {
    this.#way = way;
  }

  logged(line: LogLine): void {
    const dropped = line.dropped + (this.#lines.get(line.worker) ?? 0);
    if (this.#way.log({ ...line, dropped })) this.#lines.delete(line.worker);
    else this.#drop(line.worker, dropped + 1);
  }

  progressed(report: ProgressReport): void {
    const call = `${report.worker}.${report.slot}`;
    const before = this.#reports.get(call);
    const missed = before?.sequence === report.sequence ? before.dropped : 0;
    const dropped = report.dropped + missed;
    if (this.#way.progress({ ...report, dropped })) this.#reports.delete(call);
    else this.#reports.set(call, { sequence: report.sequence, dropped: dropped + 1 });
  }

  /** What comes from then on is of another lease: what was dropped is none of its own. */
  renew(): void {
    this.#lines.clear();
    this.#reports.clear();
  }

  #drop(worker: number, dropped: number): void {
    this.#lines.set(worker, dropped);
    if (this.#waits) return;
    this.#waits = true;
    this.#way.whenRoom(() => this.#tellMissing());
  }

  /** Reports the dropped lines by themselves, as the function may log no further line that could carry their count. */
  #tellMissing(): void {
    this.#waits = false;
    for (const [worker, dropped] of [...this.#lines]) {
      this.#lines.delete(worker);
      const line: LogLine = {
        worker,
        level: "warn",
        message: "lines of the log are missing here: they came faster than they were read",
        data: null,
        atMs: Date.now(),
        dropped,
      };
      if (!this.#way.log(line)) this.#drop(worker, dropped);
    }
  }
}
