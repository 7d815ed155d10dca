/** The compiled executable, as users run it. */
import { join } from "node:path";
import { APART, FABRIC, nodeAddress, withFabric } from "./fabric.ts";
import { until } from "./until.ts";

export const ROOT = join(import.meta.dir, "..", "..");
export const RFAAS = join(ROOT, "dist", "rfaas");
export const FUNCTIONS = join(ROOT, "test", "functions");

/** In a guest on a busy machine a node takes a while. */
const START_LIMIT_MS = 100_000;

export interface Finished {
  exitCode: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  /** Another one than {@link RFAAS}. */
  executable?: string;
  cwd?: string;
  env?: Record<string, string>;
  stdin?: string | Uint8Array;
  /** Ends the command, and fails the test, after this long. */
  limitMs?: number;
  /** Hears all that was written to stderr so far, whenever more comes. */
  onStderr?: (text: string) => void;
}

/** Runs a command line of the executable to its end. */
export async function rfaas(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const {
    executable = RFAAS,
    cwd = "/",
    env = {},
    stdin,
    limitMs = 30_000,
    onStderr = () => {},
  } = options;
  const child = Bun.spawn([executable, ...withFabric(args)], {
    cwd,
    env: { ...process.env, ...env },
    stdin: stdin === undefined ? "ignore" : new TextEncoder().encode(String(stdin)),
    stdout: "pipe",
    stderr: "pipe",
  });
  let overdue = false;
  const timer = setTimeout(() => {
    overdue = true;
    child.kill("SIGKILL");
  }, limitMs);
  let stderr = "";
  const listening = (async () => {
    for await (const part of child.stderr.pipeThrough(new TextDecoderStream()))
      onStderr((stderr += part));
  })();
  const stdout = await child.stdout.text();
  await listening;
  await child.exited;
  clearTimeout(timer);
  if (overdue)
    throw new Error(`rfaas ${args.join(" ")} did not end within ${limitMs} ms:\n${stderr}`);
  return {
    exitCode: child.exitCode,
    signal: child.signalCode === null ? null : String(child.signalCode),
    stdout,
    stderr,
  };
}

/** A running `rfaas serve`, over the fabric of the tests where it is told none. */
export class ServedNode implements AsyncDisposable {
  readonly address: string;
  readonly pid: number;
  stderr = "";
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  /** Resolves when all of its stderr has been read. */
  readonly #heard: Promise<void>;

  private constructor(child: Bun.Subprocess<"ignore", "pipe", "pipe">, address: string) {
    this.#child = child;
    this.pid = child.pid;
    this.address = address;
    this.#heard = (async () => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream()))
        this.stderr += text;
    })();
  }

  /**
   * `listen` may be the path of a socket: {@link address} says where the node is. `within` is what comes before the command,
   * such as `ip netns exec NAME`; `executable` another version's.
   */
  static async start(
    listen: string,
    args: readonly string[] = [],
    within: readonly string[] = [],
    executable = RFAAS,
  ): Promise<ServedNode> {
    const address = nodeAddress(listen);
    const over = APART && !args.includes("--fabric") ? ["--fabric", FABRIC] : [];
    const child = Bun.spawn(
      [...within, executable, "serve", "--listen", address, ...over, ...args],
      {
        cwd: "/",
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    const node = new ServedNode(child, address);
    await until(
      async () => {
        if (child.exitCode !== null) {
          await node.#heard;
          throw new Error(`serve ended:\n${node.stderr}`);
        }
        return node.stderr.includes("serving");
      },
      "the node serves",
      START_LIMIT_MS,
    );
    return node;
  }

  /** The port that it listens at, over TCP. */
  get port(): number {
    return Number(/serving .* at \S+:(\d+)/.exec(this.stderr)![1]);
  }

  get exited(): Promise<number> {
    return this.#child.exited;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}
