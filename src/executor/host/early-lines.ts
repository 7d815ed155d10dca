/** Lines of a module that loads: the agent keeps some until its client has the lease. */
import type { LogLine } from "../../protocol/module-report.ts";
import { News } from "./news.ts";

const MAX_LINES = 200;

export class EarlyLines {
  readonly #tell: (line: LogLine) => void;
  #kept: LogLine[] | undefined = [];
  #onTold: () => void = () => {};
  readonly #news = new News({
    log: (line) => this.#take(line),
    progress: () => false,
    whenRoom: (listener) => (this.#onTold = listener),
  });

  constructor(tell: (line: LogLine) => void) {
    this.#tell = tell;
  }

  logged(line: LogLine): void {
    this.#news.logged(line);
  }

  /** The client can receive them, or never will: those that were kept are told, and from then on each at once. */
  tell(): void {
    const kept = this.#kept ?? [];
    this.#kept = undefined;
    for (const line of kept) this.#tell(line);
    this.#onTold();
  }

  /** Returns false when there is no room for another one. */
  #take(line: LogLine): boolean {
    if (!this.#kept) this.#tell(line);
    else if (this.#kept.length >= MAX_LINES) return false;
    else this.#kept.push(line);
    return true;
  }
}
