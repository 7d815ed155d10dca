/** What happened: all of it when asked to, else the last of it, which is what a failure is explained by. */

interface Line {
  step: number;
  atNs: number;
  who: string;
  what: string;
  detail: string | number;
}

const LINES_KEPT = 60;

export class Trace {
  readonly #last: Line[] = Array.from({ length: LINES_KEPT }, () => ({
    step: 0,
    atNs: 0,
    who: "",
    what: "",
    detail: "",
  }));
  #count = 0;
  #step = 0;
  #atNs = 0;
  readonly #listener: ((line: string) => void) | undefined;

  /** `listener` hears each line. */
  constructor(listener?: (line: string) => void) {
    this.#listener = listener;
  }

  step(step: number, atNs: number, who: string, what: string): void {
    this.#step = step;
    this.#atNs = atNs;
    this.note(who, what);
  }

  /** Something that happens within a step. */
  note(who: string, what: string, detail: string | number = ""): void {
    const line = this.#last[this.#count++ % LINES_KEPT]!;
    line.step = this.#step;
    line.atNs = this.#atNs;
    line.who = who;
    line.what = what;
    line.detail = detail;
    this.#listener?.(format(line));
  }

  /** The last lines, oldest first. */
  last(): string[] {
    const from = Math.max(0, this.#count - LINES_KEPT);
    return Array.from({ length: this.#count - from }, (_, i) =>
      format(this.#last[(from + i) % LINES_KEPT]!),
    );
  }
}

function format({ step, atNs, who, what, detail }: Line): string {
  const time = (atNs / 1e6).toFixed(6).padStart(13);
  return `${String(step).padStart(6)} ${time} ms  ${who.padEnd(9)} ${what}${detail === "" ? "" : ` ${detail}`}`;
}
