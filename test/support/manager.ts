/** A running `rfaas manager`, which may be killed and started again at its place. */
import { Database } from "bun:sqlite";
import { join } from "node:path";
import { ledgerPath } from "../../src/manager/state/state.ts";
import { RFAAS } from "./executable.ts";
import { until } from "./until.ts";

/** What the ledger has of a lease. */
export interface LedgerRow {
  lease: string;
  user: string;
  workers: number;
  ended_at_ms: number | null;
  reason: string | null;
  allocation_core_ns: number;
  execution_ns: number;
  presumed: number;
  project: string | null;
  calls: number;
}

export class RunningManager implements AsyncDisposable {
  readonly address: string;
  readonly state: string;
  stderr = "";
  readonly #args: readonly string[];
  #executable: string;
  #child: Bun.Subprocess<"ignore", "ignore", "pipe">;
  /** Resolves when all of its stderr has been read. */
  #heard: Promise<void> = Promise.resolve();

  private constructor(address: string, state: string, args: readonly string[], executable: string) {
    this.#executable = executable;
    this.address = address;
    this.state = state;
    this.#args = args;
    this.#child = this.#spawn();
  }

  /** Starts one on a free port of an address, with its state in `folder`. */
  static async start(
    folder: string,
    args: readonly string[] = [],
    hostname = "127.0.0.1",
    executable = RFAAS,
  ): Promise<RunningManager> {
    const probe = Bun.listen({ hostname, port: 0, socket: { data() {} } });
    const { port } = probe;
    probe.stop(true);
    const manager = new RunningManager(
      `${hostname}:${port}`,
      join(folder, "state"),
      args,
      executable,
    );
    await manager.#serving();
    return manager;
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Its HTTP interface, if it was started with one. */
  get url(): string {
    return /(https?:\S+:\d+)/.exec(this.stderr)![1]!;
  }

  /** As other machines are told to name it. */
  get secureAddress(): string {
    return /(rfaas:\/\/[^\s']+)/.exec(this.stderr)![1]!;
  }

  /** Of its CA. */
  get ca(): string {
    return /ca=(sha256:[0-9a-f]{64})/.exec(this.stderr)![1]!;
  }

  /** At once, as a loss of power does to a process. */
  async kill(): Promise<void> {
    await this.end("SIGKILL");
  }

  /** Returns the exit code. */
  async end(signal: NodeJS.Signals): Promise<number> {
    this.#child.kill(signal);
    return await this.#child.exited;
  }

  /** Starts it again at the same place, with the same state; of another version where one is named. */
  async restart(executable = this.#executable): Promise<void> {
    this.#executable = executable;
    this.#child = this.#spawn();
    await this.#serving();
  }

  /** All leases that are on the bill. */
  rows(): LedgerRow[] {
    const db = new Database(ledgerPath(this.state), { readonly: true });
    try {
      return db.query<LedgerRow, []>("SELECT * FROM lease_usage").all();
    } finally {
      db.close();
    }
  }

  /** What SQLite finds wrong with the file; `"ok"` when nothing is. */
  integrity(): string {
    const db = new Database(ledgerPath(this.state), { readonly: true });
    try {
      const found = db.query<{ integrity_check: string }, []>("PRAGMA integrity_check").all();
      return found.map(({ integrity_check }) => integrity_check).join("\n");
    } finally {
      db.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  #spawn(): Bun.Subprocess<"ignore", "ignore", "pipe"> {
    this.stderr = "";
    const command = [this.#executable, "manager", "--listen", this.address, "--state", this.state];
    const child = Bun.spawn([...command, ...this.#args], {
      cwd: "/",
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    this.#heard = (async () => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream()))
        this.stderr += text;
    })();
    return child;
  }

  async #serving(): Promise<void> {
    await until(async () => {
      if (this.#child.exitCode !== null) {
        await this.#heard;
        throw new Error(`manager ended:\n${this.stderr}`);
      }
      return this.stderr.includes("managing at");
    }, "the manager serves");
  }
}
