/** A process of a run: started, killed, stopped, and started again, each end of it written down. */
import { closeSync, existsSync, openSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { alive, descendants } from "../../support/processes.ts";
import { until } from "../../support/until.ts";
import type { Journal } from "../journal.ts";

const START_LIMIT_MS = 60_000;
/** How much of its log is told of a process that ended by itself. */
const LOG_BYTES = 4000;

export interface ActorOptions {
  name: string;
  folder: string;
  journal: Journal;
  env: Record<string, string>;
  /** What its log says when it is there. */
  ready?: string | undefined;
  client?: number;
  /** How many times longer than others the machine takes to start it. Default: 1. */
  slowness?: number;
}

export class Actor {
  readonly name: string;
  readonly log: string;
  readonly #options: ActorOptions;
  #child: Bun.Subprocess | undefined;
  #meant = false;
  /** Where what this process says begins in the log. */
  #from = 0;
  #exit: Promise<void> = Promise.resolve();

  constructor(options: ActorOptions) {
    this.#options = options;
    this.name = options.name;
    this.log = join(options.folder, `${options.name}.log`);
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get running(): boolean {
    return (
      this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
    );
  }

  /** Resolves when it has ended, and that is written down. */
  get ended(): Promise<void> {
    return this.#exit;
  }

  /** Itself, what it has started, and so on. */
  get processes(): number[] {
    return this.running ? [this.pid, ...descendants(this.pid)] : [];
  }

  /** In a session of its own, so that a signal can go to its group. */
  async start(command: readonly string[]): Promise<void> {
    const { env, folder, journal, name, ready, client, slowness = 1 } = this.#options;
    const file = openSync(this.log, "a");
    const from = (this.#from = statSync(this.log).size);
    this.#meant = false;
    const child = Bun.spawn([...command], {
      ...{ cwd: folder, env: { ...process.env, ...env }, detached: true },
      stdio: ["ignore", file, file],
    });
    closeSync(file);
    this.#child = child;
    this.#exit = (async () => {
      await child.exited;
      const meant = this.#meant;
      journal.say({
        ...{
          e: "exit",
          who: name,
          meant,
          code: child.exitCode,
          signal: child.signalCode?.toString() ?? null,
        },
        ...(client === undefined ? {} : { client }),
        ...(meant ? {} : { log: this.#tail() }),
      });
    })();
    if (ready === undefined) return;
    const said = (): string => readFileSync(this.log).subarray(from).toString();
    await until(
      () => !this.running || said().includes(ready),
      `${name} is there`,
      START_LIMIT_MS * slowness,
    );
  }

  /** Which of these words its log has last, and how often it has the first. A new process has said nothing yet. */
  lastSaid(first: string, other: string): { last: string | undefined; count: number } {
    const text = existsSync(this.log) ? readFileSync(this.log, "utf8") : "";
    const [at, otherAt] = [text.lastIndexOf(first), text.lastIndexOf(other)];
    const last = Math.max(at, otherAt);
    const isOfThis = this.running && last >= this.#from;
    return {
      last: isOfThis ? (last === at ? first : other) : undefined,
      count: text.split(first).length - 1,
    };
  }

  /** It may end now, in any way. */
  expectEnd(): void {
    this.#meant = true;
  }

  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#child!.kill(signal);
  }

  /** To all of its group. */
  signalGroup(signal: NodeJS.Signals): void {
    if (this.running) process.kill(-this.pid, signal);
  }

  /** To one after another of its processes. */
  signalEach(signal: NodeJS.Signals): void {
    for (const pid of this.processes) signalTo(pid, signal);
  }

  async kill(): Promise<void> {
    this.expectEnd();
    this.signal("SIGKILL");
    await this.ended;
  }

  /** Told to end; whether it has within so long. */
  async end(signal: NodeJS.Signals, limitMs: number): Promise<boolean> {
    this.expectEnd();
    this.signal(signal);
    return await this.endsWithin(limitMs);
  }

  async endsWithin(limitMs: number): Promise<boolean> {
    const late = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => late.resolve(false), limitMs);
    const result = await Promise.race([this.ended.then(() => true), late.promise]);
    clearTimeout(timer);
    return result;
  }

  #tail(): string {
    return readFileSync(this.log).subarray(-LOG_BYTES).toString();
  }
}

/** To a process that may be gone. */
export function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    if (alive(pid)) process.kill(pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}
