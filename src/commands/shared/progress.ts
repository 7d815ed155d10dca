/**
 * The one line on stderr that says what takes so long. It is there on a terminal only, from the second second on, moves by itself, and is
 * gone when the work is done, when something else is written, and when Ctrl-C ends the program. Only commands draw; the library never does.
 */
import { LogLevels } from "consola";
import { Type } from "@sinclair/typebox";
import { formatBytes } from "../../base/units.ts";
import type { UploadProgress } from "../../client/events/upload-progress.ts";
import { truth } from "../../options/fields.ts";
import { beforeLog, log } from "./log.ts";
import { printable } from "./table.ts";

/** The options of every command that may draw a line. */
export const progressFields = {
  quiet: Type.Optional(
    truth({ description: "say nothing on stderr but warnings and errors", short: "q" }),
  ),
  noProgress: Type.Optional(
    truth({ description: "draw no line on the terminal while something takes long" }),
  ),
};

/** What takes less time gets no line. */
const SHOWN_AFTER_MS = 1_000;
const REDRAW_MS = 100;
const DEFAULT_COLUMNS = 80;
const SIGNALS = ["SIGINT", "SIGTERM"] as const;
const CLEAR = "\r\x1b[K";

/** The terminal and the clock; a test has its own. */
export interface Surroundings {
  screen: Pick<NodeJS.WriteStream, "isTTY" | "columns"> & { write(text: string): unknown };
  nowMs(): number;
  /** Calls `look` at each interval, until the returned function is called. */
  every(ms: number, look: () => void): () => void;
}

const REAL: Surroundings = {
  screen: process.stderr,
  nowMs: () => performance.now(),
  every(ms, look) {
    const timer = setInterval(look, ms);
    timer.unref();
    return () => clearInterval(timer);
  },
};

export class Progress implements Disposable {
  readonly #screen: Surroundings["screen"];
  readonly #nowMs: () => number;
  readonly #every: Surroundings["every"];
  readonly #enabled: boolean;
  #text = "";
  /** When the work began that is going on; undefined between two. */
  #begunMs: number | undefined;
  #drawnMs = -Infinity;
  #drawn = false;
  #stop: (() => void) | undefined;

  constructor(enabled: boolean, { screen, nowMs, every }: Surroundings = REAL) {
    this.#screen = screen;
    this.#nowMs = nowMs;
    this.#every = every;
    this.#enabled = enabled && screen.isTTY && process.env["TERM"] !== "dumb";
  }

  /** Of a command, by its options; with `quiet` the log, too, says only what is wrong. */
  static of({ quiet = false, noProgress = false }: { quiet?: boolean; noProgress?: boolean }) {
    if (quiet) log.level = Math.min(log.level, LogLevels.warn);
    return new Progress(!noProgress && log.level >= LogLevels.info);
  }

  /** The work that goes on from here; the line tells how long it has taken, all steps together. */
  step(text: string): void {
    if (!this.#begin(text)) return;
    this.#stop ??= this.#every(REDRAW_MS, () => this.#draw());
    this.#draw();
  }

  /** As {@link step}, where what follows is timed: draws once, if at all, and sets no timer. */
  still(text: string): void {
    if (!this.#begin(text)) return;
    this.#stop?.();
    this.#stop = undefined;
    this.#draw();
  }

  /** The line while the work goes on. */
  async during<Result>(text: string, work: () => Promise<Result>): Promise<Result> {
    this.step(text);
    try {
      return await work();
    } finally {
      this.end();
    }
  }

  /** The step of an upload; `then` is what follows it. */
  upload(then: string): (progress: UploadProgress) => void {
    return ({ sentBytes, totalBytes }) => {
      const percent = totalBytes === 0 ? 100 : Math.floor((100 * sentBytes) / totalBytes);
      this.step(
        sentBytes === totalBytes
          ? then
          : `sending the package: ${formatBytes(sentBytes)} of ${formatBytes(totalBytes)} (${percent} %)`,
      );
    };
  }

  /** The work is done. */
  end(): void {
    this.#stop?.();
    this.#stop = undefined;
    this.#begunMs = undefined;
    this.clear();
  }

  /** Makes room for what is written next; work that goes on draws its line again. */
  clear(): void {
    if (!this.#drawn) return;
    this.#drawn = false;
    process.off("exit", this.#onExit);
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
    this.#screen.write(CLEAR);
  }

  [Symbol.dispose](): void {
    this.end();
  }

  #begin(text: string): boolean {
    this.#text = printable(text);
    if (this.#enabled) this.#begunMs ??= this.#nowMs();
    return this.#enabled;
  }

  #draw(): void {
    const nowMs = this.#nowMs();
    const forMs = nowMs - this.#begunMs!;
    if (forMs < SHOWN_AFTER_MS || nowMs - this.#drawnMs < REDRAW_MS) return;
    this.#drawnMs = nowMs;
    if (!this.#drawn) this.#giveWay();
    this.#drawn = true;
    // The last column stays free: a terminal would go on to the next line.
    const columns = (this.#screen.columns || DEFAULT_COLUMNS) - 1;
    const line = `${this.#text}, ${(forMs / 1000).toFixed(1)} s`;
    this.#screen.write(`${CLEAR}${Bun.sliceAnsi(line, 0, columns)}`);
  }

  /** On the screen, the line is gone before the log, and before the prompt of the shell, after Ctrl-C too. */
  #giveWay(): void {
    beforeLog(() => this.clear());
    process.on("exit", this.#onExit);
    for (const signal of SIGNALS) process.on(signal, this.#onSignal);
  }

  readonly #onExit = (): void => this.clear();

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.end();
    // Another listener decides what becomes of the program; without one the signal does what it always does.
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
  };
}

/** What `invoker` does where these, or else the environment, name a node or none. */
export function connecting({
  node = process.env["RFAAS_NODE"],
  manager = process.env["RFAAS_MANAGER"],
  nodes,
}: Partial<Record<"node" | "manager" | "nodes", string | undefined>>): string {
  const named = nodes ?? node ?? manager;
  return named ? `connecting to ${named}` : "starting a node";
}
