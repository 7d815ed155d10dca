/** The host's side of the channel to a guest's agent: starts commands there and follows them. */
import { type Server, type Socket, createServer } from "node:net";
import { type FromGuest, Lines, type ToGuest } from "./messages.ts";

/** An ordinary user, whom every system has. */
const NOBODY = 65534;
const RUN_LIMIT_MS = 60_000;

export interface StartOptions {
  /** In addition to the guest's own environment. */
  env?: Record<string, string>;
  /** Runs as an ordinary user who may lock this much memory; without it, as root, who may lock all. */
  user?: { memlockKiB: number };
  onOutput?: (text: string) => void;
}

export interface RunOptions extends StartOptions {
  /** The command is killed, and the promise rejects, after this long; a minute unless told. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

export interface Finished {
  /** As a shell says it: 128 and the signal's number for a command that a signal has ended. */
  exitCode: number;
  /** What it has printed, on both streams. */
  output: string;
}

/** A command that runs in a guest. */
export class GuestProcess {
  /** What it has printed so far, on both streams. */
  output = "";
  /** Its exit code; rejects when the guest ends first. */
  readonly exited: Promise<number>;
  readonly #kill: (signal: NodeJS.Signals) => void;

  constructor(exited: Promise<number>, kill: (signal: NodeJS.Signals) => void) {
    this.exited = exited;
    this.#kill = kill;
    // Who never looks at the end of a background process does not care about the guest's end either.
    exited.catch(() => {});
  }

  /** Sends a signal to it and to what it has started. */
  kill(signal: NodeJS.Signals = "SIGTERM"): void {
    this.#kill(signal);
  }
}

interface Running {
  process: GuestProcess;
  onOutput: ((text: string) => void) | undefined;
  exited: PromiseWithResolvers<number>;
}

export class Commands {
  /** Settles when the agent is there. */
  readonly ready: Promise<void>;
  readonly #ready = Promise.withResolvers<void>();
  readonly #server: Server;
  readonly #running = new Map<number, Running>();
  #socket: Socket | null = null;
  #nextId = 1;
  #ended: Error | null = null;

  /** Listens at `path` for QEMU to connect the guest's port. */
  constructor(path: string) {
    this.ready = this.#ready.promise;
    this.ready.catch(() => {});
    this.#server = createServer((socket) => {
      const lines = new Lines();
      this.#socket = socket;
      socket.on("data", (bytes: Buffer) => {
        for (const line of lines.take(bytes)) this.#take(JSON.parse(line) as FromGuest);
      });
      socket.on("error", () => {});
    }).listen(path);
  }

  start(command: string, { env = {}, user, onOutput }: StartOptions): GuestProcess {
    const id = this.#nextId++;
    const shell = ["bash", "-c", `exec 2>&1\n${command}`];
    const words = user === undefined ? shell : [...asUser(user.memlockKiB), ...shell];
    const exited = Promise.withResolvers<number>();
    const process = new GuestProcess(exited.promise, (signal) =>
      this.#send({ kind: "signal", id, signal }),
    );
    if (this.#ended !== null) {
      exited.reject(this.#ended);
      return process;
    }
    this.#running.set(id, { process, onOutput, exited });
    this.#send({ kind: "start", id, words, env });
    return process;
  }

  async run(command: string, options: RunOptions): Promise<Finished> {
    const { timeoutMs = RUN_LIMIT_MS, signal } = options;
    signal?.throwIfAborted();
    const process = this.start(command, options);
    const stopped = Promise.withResolvers<never>();
    const stop = (why: string): void => {
      process.kill("SIGKILL");
      stopped.reject(new Error(`"${command}" ${why}; its output:\n${process.output}`));
    };
    const timer = setTimeout(() => stop(`did not end within ${timeoutMs} ms`), timeoutMs);
    const onAbort = (): void => stop("was aborted");
    signal?.addEventListener("abort", onAbort);
    try {
      const exitCode = await Promise.race([process.exited, stopped.promise]);
      return { exitCode, output: process.output };
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Hangs up; what still runs, and what is started later, fails with `reason`. */
  end(reason: Error): void {
    this.#ended ??= reason;
    this.#ready.reject(reason);
    for (const { exited } of this.#running.values()) exited.reject(reason);
    this.#running.clear();
    this.hangUp();
  }

  /** The agent, and with it the guest, ends. */
  hangUp(): void {
    this.#socket?.destroy();
    this.#server.close();
  }

  #send(message: ToGuest): void {
    this.#socket?.write(`${JSON.stringify(message)}\n`);
  }

  #take(message: FromGuest): void {
    if (message.kind === "ready") return this.#ready.resolve();
    const running = this.#running.get(message.id);
    if (running === undefined) return;
    if (message.kind === "output") {
      running.process.output += message.text;
      running.onOutput?.(message.text);
    } else {
      this.#running.delete(message.id);
      running.exited.resolve(message.exitCode);
    }
  }
}

function asUser(memlockKiB: number): string[] {
  const limit = memlockKiB * 1024;
  return [
    ...["prlimit", `--memlock=${limit}:${limit}`],
    ...["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"],
    ...["env", "HOME=/tmp"],
  ];
}
