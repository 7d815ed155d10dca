/** One line on stderr that says what is going on: rewritten on a terminal, a line a step elsewhere. */

/** Calls that wait for a slot are made in a turn of the event loop. */
const TURN_MS = 50;

export class Progress {
  readonly #terminal = process.stderr.isTTY;
  #turnedMs = 0;

  /** Names the step. */
  begin(step: string): void {
    this.#show(step);
    if (!this.#terminal) process.stderr.write("\n");
  }

  /** Runs `work` on each item, shows how far it is, and lets the event loop turn. */
  async each<Item>(
    step: string,
    items: readonly Item[],
    work: (item: Item) => void,
  ): Promise<void> {
    this.begin(step);
    for (const [i, item] of items.entries()) {
      work(item);
      if (performance.now() - this.#turnedMs < TURN_MS) continue;
      if (this.#terminal) this.#show(`${step}  ${Math.round((100 * (i + 1)) / items.length)} %`);
      await new Promise((resolve) => setImmediate(resolve));
      this.#turnedMs = performance.now();
    }
  }

  /** Clears the line. */
  end(): void {
    if (this.#terminal) process.stderr.write("\r\x1b[K");
  }

  #show(text: string): void {
    process.stderr.write(this.#terminal ? `\r\x1b[K${text}` : text);
  }
}
