/** One line on stderr that says what is going on: rewritten on a terminal, a line a step elsewhere. */

const UPDATE_MS = 100;

export class Progress {
  readonly #terminal = process.stderr.isTTY;
  #updated = 0;

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
      if (!this.#terminal || performance.now() - this.#updated < UPDATE_MS) continue;
      this.#show(`${step}  ${Math.round((100 * (i + 1)) / items.length)} %`);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Clears the line. */
  end(): void {
    if (this.#terminal) process.stderr.write("\r\x1b[K");
  }

  #show(text: string): void {
    this.#updated = performance.now();
    process.stderr.write(this.#terminal ? `\r\x1b[K${text}` : text);
  }
}
