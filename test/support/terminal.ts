/** A program on a terminal of its own, which types and looks. */
import { until } from "./until.ts";

export interface TerminalOptions {
  cwd?: string;
  env?: Record<string, string | undefined>;
  cols?: number;
}

export class TerminalProgram implements AsyncDisposable {
  /** All that was written to the terminal. */
  shown = "";
  readonly #child: Bun.Subprocess;

  constructor(command: readonly string[], { cwd = "/", env = {}, cols = 100 }: TerminalOptions) {
    const decoder = new TextDecoder();
    this.#child = Bun.spawn([...command], {
      cwd,
      env: { ...process.env, TERM: "xterm", ...env },
      // Made with the child, it is the terminal that Ctrl-C reaches the child by.
      terminal: {
        cols,
        rows: 40,
        data: (_, bytes) => void (this.shown += decoder.decode(bytes, { stream: true })),
      },
    });
  }

  get exited(): Promise<number> {
    return this.#child.exited;
  }

  type(text: string): void {
    this.#child.terminal!.write(text);
  }

  /** Waits until the terminal has shown the text, behind `from` characters of what it has shown. */
  async shows(text: string | RegExp, from = 0): Promise<void> {
    const found = () => {
      const since = this.shown.slice(from);
      return typeof text === "string" ? since.includes(text) : text.test(since);
    };
    await until(found, `the terminal shows ${String(text)}`).catch((error: Error) => {
      throw new Error(`${error.message}; it shows:\n${JSON.stringify(this.shown.slice(from))}`);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
    this.#child.terminal!.close();
  }
}
