/** What functions say while they run: lines of a log and progress, bounded in size and rate, on their way to the main thread. */
import type { FunctionLog, LogLevel } from "../../function/context.ts";
import type { LogLine, ProgressReport } from "../../protocol/module-report.ts";

/** What the main thread is told; the same objects that travel to the client. */
export type Report = { t: "log"; line: LogLine } | { t: "progress"; report: ProgressReport };

/** Longer texts are cut. */
const MAX_MESSAGE = 8 * 1024;
const MAX_DATA = 16 * 1024;
/** Lines of one worker: so many at once, and so many a second in the long run. */
const BURST_LINES = 200;
const LINES_PER_S = 200;
/** Reports of one call come no faster than this; the last one, of 1, always comes. */
const PROGRESS_GAP_MS = 20;

export class Reporter {
  readonly log: FunctionLog;
  readonly #worker: number;
  readonly #post: (report: Report) => void;
  #lines = BURST_LINES;
  #filledAtMs = performance.now();
  #dropped = 0;

  constructor(worker: number, post: (report: Report) => void) {
    this.#worker = worker;
    this.#post = post;
    const writer = (level: LogLevel) => (message: string, data?: unknown) =>
      this.#write(level, message, data);
    this.log = Object.freeze({
      debug: writer("debug"),
      info: writer("info"),
      warn: writer("warn"),
      error: writer("error"),
    });
  }

  progress(
    slot: number,
    sequence: number,
    fraction: number,
    message: string | undefined,
    dropped: number,
  ): void {
    this.#post({
      t: "progress",
      report: {
        worker: this.#worker,
        slot,
        sequence,
        fraction,
        message: message === undefined ? null : cut(String(message), MAX_MESSAGE),
        dropped,
      },
    });
  }

  #write(level: LogLevel, message: string, data: unknown): void {
    const nowMs = performance.now();
    const earned = ((nowMs - this.#filledAtMs) / 1000) * LINES_PER_S;
    this.#lines = Math.min(BURST_LINES, this.#lines + earned);
    this.#filledAtMs = nowMs;
    if (this.#lines < 1) {
      this.#dropped++;
      return;
    }
    this.#lines--;
    const line = {
      worker: this.#worker,
      level,
      message: cut(String(message), MAX_MESSAGE),
      data: data === undefined ? null : toJson(data),
      atMs: Date.now(),
      dropped: this.#dropped,
    };
    this.#dropped = 0;
    this.#post({ t: "log", line });
  }
}

/** The progress of one call: what comes too fast is counted instead of sent. */
export class Progress {
  #sentAtMs = -Infinity;
  #dropped = 0;

  /** Whether a report may go now. */
  admits(fraction: number): boolean {
    const nowMs = performance.now();
    if (fraction < 1 && nowMs - this.#sentAtMs < PROGRESS_GAP_MS) {
      this.#dropped++;
      return false;
    }
    this.#sentAtMs = nowMs;
    return true;
  }

  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }
}

function toJson(data: unknown): string {
  let json: string | undefined;
  try {
    json = JSON.stringify(data, (_, value: unknown) =>
      typeof value === "bigint" ? `${value}n` : ArrayBuffer.isView(value) ? inspect(value) : value,
    );
  } catch {
    // Circular, or a getter of its own has thrown.
  }
  json ??= JSON.stringify(inspect(data));
  return json.length <= MAX_DATA ? json : JSON.stringify(cut(json, MAX_DATA / 2));
}

function inspect(value: unknown): string {
  try {
    return Bun.inspect(value).slice(0, MAX_DATA / 4);
  } catch {
    return typeof value;
  }
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}…`;
}
