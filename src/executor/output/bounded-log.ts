/**
 * The lines of one lease on their way to the node's log: so many a second, and so many bytes, and none while the log itself is not read. What is
 * dropped is counted, and the count is told.
 */
import type { Clock } from "../../base/clock.ts";
import { countOf, formatBytes } from "../../base/units.ts";
import type { OutputReader } from "./line-cutter.ts";

/** In the long run, and at once. */
export const LINES_PER_S = 200;
export const BURST_LINES = 200;
export const BYTES_PER_S = 64 * 1024;
export const BURST_BYTES = 256 * 1024;
/** What was dropped is told so much later, when there may be more. */
const TELL_MS = 1000;

/** The log. */
export interface LogWay {
  /** Whether it can be written. */
  hasRoom(): boolean;
  /** Writes what functions have printed. */
  printed(text: string): void;
  /** Writes what is to be said of the lines that are missing. */
  missing(text: string): void;
}

export class BoundedLog implements OutputReader {
  readonly #way: LogWay;
  readonly #clock: Clock;
  #lines = BURST_LINES;
  #bytes = BURST_BYTES;
  #filledAtMs: number;
  #droppedLines = 0;
  #droppedBytes = 0;
  #telling = false;

  constructor(way: LogWay, clock: Clock) {
    this.#way = way;
    this.#clock = clock;
    this.#filledAtMs = clock.nowMs();
  }

  line(text: Uint8Array): boolean {
    if (!this.admits(text.length)) return false;
    this.#way.printed(textOf(text));
    return true;
  }

  /** Whether a line of this length may be written. One that may not is counted. */
  admits(bytes: number): boolean {
    this.#fill();
    if (this.#lines < 1 || this.#bytes < bytes || !this.#way.hasRoom()) {
      this.dropped(1, bytes);
      return false;
    }
    this.#lines--;
    this.#bytes -= bytes;
    return true;
  }

  dropped(lines: number, bytes: number): void {
    this.#droppedLines += lines;
    this.#droppedBytes += bytes;
    if (this.#telling) return;
    this.#telling = true;
    this.#clock.after(TELL_MS, () => this.tell()).unref();
  }

  /** Says what was dropped since this was said last, if anything. */
  tell(): void {
    this.#telling = false;
    const [lines, bytes] = [this.#droppedLines, this.#droppedBytes];
    if (lines === 0 && bytes === 0) return;
    this.#droppedLines = this.#droppedBytes = 0;
    this.#way.missing(
      `${countOf(lines, "line")} (${formatBytes(bytes)}) of its output and its log are missing here: a lease writes ${LINES_PER_S} lines and ${formatBytes(BYTES_PER_S)} a second to the node's log`,
    );
  }

  #fill(): void {
    const nowMs = this.#clock.nowMs();
    const seconds = (nowMs - this.#filledAtMs) / 1000;
    this.#filledAtMs = nowMs;
    this.#lines = Math.min(BURST_LINES, this.#lines + seconds * LINES_PER_S);
    this.#bytes = Math.min(BURST_BYTES, this.#bytes + seconds * BYTES_PER_S);
  }
}

const decoder = new TextDecoder();

/** What was printed, as text; what is no UTF-8 is replaced. */
export const textOf = (line: Uint8Array): string => decoder.decode(line).replace(/\r$/, "");

/** Takes every line. What prints waits while there is no room. */
export function readerOf(print: (text: string) => void, hasRoom?: () => boolean): OutputReader {
  return {
    line(text) {
      print(textOf(text));
      return true;
    },
    dropped() {},
    ...(hasRoom && { hasRoom }),
  };
}
