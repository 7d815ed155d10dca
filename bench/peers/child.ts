/** The processes that answer: each ends with the benchmark. */
import type { Subprocess } from "bun";
import { join } from "node:path";
import { pinThread } from "../../ffi/system.ts";

const SERVER = join(import.meta.dir, "server.ts");
const LIMIT_MS = 30_000;

export type Served = "nats" | "grpc" | "http";

/** A child inherits the CPU that this thread is pinned to, and the kernel is to place it. */
function spawn(command: readonly string[]): Subprocess<"pipe", "pipe", "pipe"> {
  pinThread(-1);
  return Bun.spawn([...command], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
}

export class Child {
  readonly #process: Subprocess<"pipe", "pipe", "pipe">;
  readonly port: number;

  private constructor(process: Subprocess<"pipe", "pipe", "pipe">, port: number) {
    this.#process = process;
    this.port = port;
  }

  /** Of `server.ts`; ends when this process does. */
  static serving(kind: Served, ...words: (string | number)[]): Promise<Child> {
    return Child.start([process.argv[0]!, SERVER, kind, ...words.map(String)], {
      readyAt: /^port (\d+)$/m,
    });
  }

  /** Rejects when the program ends, or does not say its port in time. */
  static async start(command: readonly string[], { readyAt }: { readyAt: RegExp }): Promise<Child> {
    const child = spawn(command);
    const said = { stdout: "", stderr: "" };
    const ready = Promise.withResolvers<number>();
    const hear = async (from: "stdout" | "stderr") => {
      const decoder = new TextDecoder();
      for await (const chunk of child[from]) {
        said[from] += decoder.decode(chunk, { stream: true });
        const port = readyAt.exec(said[from])?.[1];
        if (port !== undefined) ready.resolve(Number(port));
      }
    };
    const heard = Promise.all([hear("stdout"), hear("stderr")]);
    const failed = (why: string) => ready.reject(new Error(`${command[0]} ${why}\n${said.stderr}`));
    const timer = setTimeout(() => failed("does not say its port"), LIMIT_MS);
    void heard.then(() => failed("has ended"));
    try {
      return new Child(child, await ready.promise);
    } catch (error) {
      child.kill();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async end(): Promise<void> {
    this.#process.kill();
    await this.#process.exited;
  }
}

/** What a program prints. Rejects when it fails. */
export async function outputOf(command: readonly string[]): Promise<string> {
  const child = spawn(command);
  void child.stdin.end();
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) === 0) return stdout;
  throw new Error(`${command.slice(0, 3).join(" ")} .. has failed: ${stderr.trim()}`);
}
