/**
 * The stage of the attempts: a node with a sandbox, one without for the controls, a victim's lease on the former, and a decoy beside
 * them, which is a process of the same user with a secret. All attempts are told the same facts.
 */
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Invoker, type Lease, type TypedFunction, invoker } from "../../src/index.ts";
import { compiler } from "../../ffi/build.ts";
import { run } from "../support/compilers.ts";
import { RFAAS, ServedNode } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Victim = typeof import("./functions/victim.ts");

const NATIVE = join(import.meta.dir, "native");
export const FUNCTIONS = join(import.meta.dir, "functions");
const LIBRARY_SOURCES = ["library", "files", "processes", "sockets", "programs", "kernel"];
const SECRET = `escape-secret-${process.pid}`;
const VICTIM_SECRET = `escape-victims-${process.pid}`;
/** A variable of who has started the node, which no function is to see. */
const NODE_ENVIRONMENT = ["env", `NODES_OWN=${SECRET}`];
const WORK = 20_000;
const LIMIT_MS = 60_000;

/** By the node's log line; none where the sandbox is `none`. */
const guardsOf = (node: ServedNode): Set<string> =>
  new Set(
    [...(/sandbox \w+: (.*)$/m.exec(node.stderr)?.[1] ?? "").matchAll(/(?:^|, )(\w+) by /g)].map(
      ([, guard]) => guard!,
    ),
  );

export class Stage implements AsyncDisposable {
  readonly scratch = new Scratch();
  /** Which guards the room holds, as its node says. */
  guards!: ReadonlySet<string>;
  library!: string;
  facts!: Readonly<Record<string, string>>;
  node!: ServedNode;
  control!: ServedNode;
  readonly #opened: AsyncDisposable[] = [];

  static async open(sandbox: string): Promise<Stage> {
    const stage = new Stage();
    try {
      await stage.#build(sandbox);
      return stage;
    } catch (error) {
      await stage[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Somewhere in it, made. */
  folder(name: string): string {
    const path = this.scratch.join(name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** A client's connection of its own. */
  async client(node: { address: string }): Promise<Invoker> {
    const rf = await invoker({ node: node.address });
    this.#opened.push({ [Symbol.asyncDispose]: () => rf.close() });
    return rf;
  }

  async #build(sandbox: string): Promise<void> {
    process.env["RFAAS_EXECUTABLE"] = RFAAS;
    chmodSync(this.scratch.path, 0o755);
    const outside = this.#layOut();
    this.library = this.#compile();
    const decoy = await this.#startDecoy(outside);
    const [state, cache] = [this.folder("state"), this.folder("cache")];
    const own = ["--cores", "4", "--memory", "256MiB", "--fabric", "shm"];
    const places = ["--state", state, "--cache", cache];
    const start = (name: string, args: readonly string[]) =>
      ServedNode.start(this.scratch.join(`${name}.sock`), [...own, ...args], NODE_ENVIRONMENT);
    this.node = await start("node", [...places, "--sandbox", sandbox]);
    this.#opened.push(this.node);
    const other = ["--state", this.folder("other-state"), "--cache", this.folder("other-cache")];
    this.control = await start("control", [...other, "--sandbox", "none"]);
    this.#opened.push(this.control);
    this.guards = guardsOf(this.node);
    for (const place of [state, cache]) writeFileSync(join(place, "decoy"), SECRET);
    mkdirSync(join(cache, "decoy-tree"));
    const victim = await this.#lease();
    const reversedVictimSecret = VICTIM_SECRET.split("").reverse().join("");
    this.facts = {
      ...{ outside, state, cache, secret: SECRET, reversedVictimSecret, ...decoy, ...victim },
      ...{ agent: String(this.node.pid), node: this.scratch.join("node.sock") },
      socket: join(outside, "decoy.sock"),
    };
  }

  #layOut(): string {
    const outside = this.folder("outside");
    for (const name of ["secret", "target", "removable"])
      writeFileSync(join(outside, name), SECRET);
    writeFileSync(join(outside, "module.ts"), `export const text = "${SECRET}";\n`);
    mkdirSync(join(outside, "tree", "within"), { recursive: true });
    return outside;
  }

  #compile(): string {
    const to = this.scratch.join("attempts.so");
    const sources = LIBRARY_SOURCES.map((name) => join(NATIVE, `${name}.c`));
    const flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-fvisibility=hidden"];
    run([compiler()!, ...flags, "-o", to, ...sources], "/");
    return to;
  }

  async #startDecoy(outside: string): Promise<Record<string, string>> {
    const program = this.scratch.join("decoy");
    run(
      [compiler()!, "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, join(NATIVE, "decoy.c")],
      "/",
    );
    const child = Bun.spawn([program, outside, SECRET], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { DECOY: SECRET },
    });
    this.#opened.push({
      [Symbol.asyncDispose]: async () => {
        child.kill("SIGTERM");
        await child.exited;
      },
    });
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let said = "";
    while (!said.includes("\n")) {
      const { value, done } = await reader.read();
      if (done) throw new Error("the decoy has ended");
      said += value;
    }
    const all = JSON.parse(said) as Record<string, number>;
    return Object.fromEntries(Object.entries(all).map(([name, value]) => [name, String(value)]));
  }

  #victim!: Lease<Victim>;
  #timed: TypedFunction<number, number> | undefined;

  async #lease(): Promise<Record<string, string>> {
    const rf = await this.client(this.node);
    const options = { memory: "1MiB", polling: "warm" } as const;
    this.#victim = await rf.allocate<Victim>(join(FUNCTIONS, "victim.ts"), options);
    const kept = await this.#victim.function("keep")(VICTIM_SECRET + SECRET);
    // Its scratch folder may be in memory, in mounts of its own.
    const victimFile = `/proc/${this.#victim.hostPid}/root${kept}`;
    await until(async () => (await rf.status()).prewarmedHosts === 1, "a host waits", LIMIT_MS);
    return { victimFile, victim: String(this.#victim.hostPid) };
  }

  /** How long a call of the victim's takes, in nanoseconds. */
  async timed(work: number): Promise<number> {
    const call = (this.#timed ??= this.#victim.function("work"));
    const began = Bun.nanoseconds();
    await call(work);
    return Bun.nanoseconds() - began;
  }

  /** Runs attempts while the victim computes. Fails when one of its answers is wrong, or does not come. */
  async beside<T>(attempts: () => Promise<T>): Promise<T> {
    const work = this.#victim.function("work");
    const right = await work(WORK);
    let [going, answers] = [true, 0];
    const computing = (async () => {
      while (going || answers === 0) {
        const answer = await work(WORK, { deadlineMs: LIMIT_MS });
        if (answer !== right) throw new Error(`the victim computed ${answer}, not ${right}`);
        answers++;
      }
    })();
    const stopped = computing.then(() => {
      throw new Error("the victim has stopped");
    });
    try {
      return await Promise.race([attempts(), stopped]);
    } finally {
      going = false;
      await computing;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const opened of this.#opened.toReversed()) await opened[Symbol.asyncDispose]();
    this.scratch[Symbol.dispose]();
  }
}
