/** The processes of the benchmark, as it starts, asks and watches them. */
import type { Subprocess } from "bun";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { selfCommand } from "../../src/base/process.ts";
import { cpuTimeNs } from "../environment.ts";
import { type Answer, type Seen, nowMs } from "./tasks.ts";

const MAIN = join(import.meta.dir, "manager-load.ts");
const CLOCK_CHECKS = 100;
const MAX_CLOCK_ERROR_MS = 0.5;
/** Timeout of a measurement: what takes longer is lost. */
const LIMIT_MS = 60_000;

/** One of the two processes, asked one thing at a time. */
export class Helper<Task extends object> {
  readonly #child: Subprocess;
  #answer = Promise.withResolvers<Answer>();
  #seen = Promise.withResolvers<Seen>();

  constructor(role: "nodes" | "clients", manager: string) {
    this.#child = Bun.spawn([process.argv[0]!, MAIN, "--role", role, "--manager", manager], {
      stdio: ["ignore", "inherit", "inherit"],
      ipc: (message: Answer | Seen) => {
        if ("seenAtMs" in message) this.#seen.resolve(message);
        else this.#answer.resolve(message);
      },
    });
  }

  get pid(): number {
    return this.#child.pid;
  }

  async ask(task: Task): Promise<number> {
    this.#answer = Promise.withResolvers();
    this.#child.send(task);
    return (await within(this.#answer.promise, JSON.stringify(task))).atMs;
  }

  /** Throws when an answer seems to come before its question or after its receipt. Also waits until the process runs. */
  async checkClock(task: Task): Promise<void> {
    for (let i = 0; i < CLOCK_CHECKS; i++) {
      const askedMs = nowMs();
      const atMs = await this.ask(task);
      const error = Math.max(askedMs - atMs, atMs - nowMs());
      if (error > MAX_CLOCK_ERROR_MS)
        throw new Error(`the clocks of two processes differ by ${error.toFixed(1)} ms at least`);
    }
  }

  /** Asks for a watch; what it saw comes later. */
  async watch(task: Task): Promise<() => Promise<number[]>> {
    this.#seen = Promise.withResolvers();
    await this.ask(task);
    return async () => (await within(this.#seen.promise, JSON.stringify(task))).seenAtMs;
  }

  /** As a machine that loses its power does. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

export async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  const limit = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => limit.reject(new Error(`not within ${LIMIT_MS} ms: ${what}`)),
    LIMIT_MS,
  );
  try {
    return await Promise.race([promise, limit.promise]);
  } finally {
    clearTimeout(timer);
  }
}

export class Manager {
  readonly address: string;
  readonly #state = mkdtempSync(join(tmpdir(), "rfaas-bench-"));
  readonly #child: Subprocess<"ignore", "ignore", "pipe">;

  private constructor(port: number) {
    this.address = `127.0.0.1:${port}`;
    this.#child = Bun.spawn(
      selfCommand(["manager", "--listen", this.address, "--state", this.#state]),
      { stdio: ["ignore", "ignore", "pipe"] },
    );
  }

  static async start(): Promise<Manager> {
    const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    probe.stop(true);
    const manager = new Manager(probe.port);
    const serving = Promise.withResolvers<void>();
    void manager.#read(() => serving.resolve());
    await within(serving.promise, "the manager serves");
    return manager;
  }

  /** Whether it stands still, as a process on a machine that swaps does. */
  pause(still: boolean): void {
    this.#child.kill(still ? "SIGSTOP" : "SIGCONT");
  }

  get cpuNs(): number {
    return cpuTimeNs(this.#child.pid) ?? 0;
  }

  get rssBytes(): number {
    return statusBytes(this.#child.pid, "VmRSS");
  }

  get peakRssBytes(): number {
    return statusBytes(this.#child.pid, "VmHWM");
  }

  /** The part of one core that it uses over a time. */
  async share<T>(work: () => Promise<T>): Promise<{ result: T; share: number; cpuMs: number }> {
    const [cpuNs, startMs] = [this.cpuNs, nowMs()];
    const result = await work();
    const cpuMs = (this.cpuNs - cpuNs) / 1e6;
    return { result, share: cpuMs / (nowMs() - startMs), cpuMs };
  }

  async stop(): Promise<void> {
    this.#child.kill();
    await this.#child.exited;
    rmSync(this.#state, { recursive: true, force: true });
  }

  /** Reads the pipe to its end: a full pipe would block the process. */
  async #read(serving: () => void): Promise<void> {
    let text = "";
    for await (const part of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      if (text.length < 4096) text += part;
      if (text.includes("managing at")) serving();
    }
  }
}

function statusBytes(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)![1]) * 1024;
}
