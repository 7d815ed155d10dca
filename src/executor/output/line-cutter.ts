/** Makes lines of what a host prints. */

/** What becomes of what a host and its functions print. */
export interface OutputReader {
  /** A line, without its end. Returns false where it takes no more for a while: this line and those behind it are dropped. */
  line(text: Uint8Array): boolean;
  /** So much was dropped besides. */
  dropped(lines: number, bytes: number): void;
  /** Whether it takes anything at all: while not, what prints waits. Default: always. */
  hasRoom?(): boolean;
}

/** Longer lines come as several. */
export const MAX_LINE_BYTES = 8 * 1024;
const NEWLINE = 10;
const NOTHING = new Uint8Array(0);

export class LineCutter {
  /** The beginning of a line. */
  #rest: Uint8Array = NOTHING;

  /** Gives the reader all lines that end in these bytes. Returns whether it has taken all of them. */
  take(bytes: Uint8Array, reader: OutputReader): boolean {
    let left = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    this.#rest = NOTHING;
    for (;;) {
      const end = left.indexOf(NEWLINE);
      if (end < 0 && left.length <= MAX_LINE_BYTES) break;
      const whole = end >= 0 && end <= MAX_LINE_BYTES;
      const length = whole ? end : characterStart(left, MAX_LINE_BYTES);
      const taken = reader.line(left.subarray(0, length));
      left = left.subarray(whole ? length + 1 : length);
      if (!taken) return this.#drop(left, reader);
    }
    this.#rest = left.slice();
    return true;
  }

  /** No more will come: what has no end is a line, too. */
  finish(reader: OutputReader): void {
    if (this.#rest.length > 0) reader.line(this.#rest);
    this.#rest = NOTHING;
  }

  #drop(left: Uint8Array, reader: OutputReader): false {
    let lines = 0;
    for (const byte of left) if (byte === NEWLINE) lines++;
    let bytes = left.lastIndexOf(NEWLINE) + 1;
    if (left.length - bytes > MAX_LINE_BYTES) bytes = left.length;
    this.#rest = left.slice(bytes);
    if (bytes > 0) reader.dropped(lines, bytes);
    return false;
  }
}

/** The last place up to `at` at which a character of UTF-8 begins. */
function characterStart(bytes: Uint8Array, at: number): number {
  for (let start = at; start > at - 4; start--) if ((bytes[start]! & 0xc0) !== 0x80) return start;
  return at;
}
