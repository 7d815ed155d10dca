/** Fuzzes what is C: the shim with address and undefined-behaviour sanitizers, by libFuzzer, one program a target. */
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import { Scratch } from "../../support/scratch.ts";
import { readCorpus, writeCorpus } from "./corpus.ts";

const ROOT = join(import.meta.dir, "..", "..", "..");
const MAX_BYTES = 512;
/** What the targets reach: all of the shim that needs neither a device nor the rights of an agent. */
const UNITS = [
  ...["core/region", "core/link", "core/clock", "core/registrations", "core/remote"],
  ...["shm/calls", "shm/sleep", "system/barrier", "system/touch", "system/descriptors"],
  ...["tcp/client", "tcp/worker", "tcp/end", "tcp/handshake", "tcp/link", "tcp/side", "tcp/tls"],
  "tcp/libssl",
];
const FLAGS = [
  ...["-std=gnu11", "-O1", "-g", "-pthread", "-fno-omit-frame-pointer", "-Wall", "-Wextra"],
  ...["-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
];

/** By the name of a corpus: the files of `shim/` that have `LLVMFuzzerTestOneInput`. */
export const SHIM_TARGETS = readdirSync(join(import.meta.dir, "..", "shim"))
  .filter((name) => name.endsWith(".c") && name !== "fabrics.c")
  .map((name) => `shim-${basename(name, ".c")}`)
  .toSorted();

/** What this machine lacks for it; undefined where it has all. */
export function lackOfLibFuzzer(): string | undefined {
  if (!Bun.which("clang")) return "clang is missing; apt-get install clang";
  const { stdout } = Bun.spawnSync(["clang", "-print-resource-dir"]);
  const version = /\d+/.exec(basename(stdout.toString().trim()))?.[0];
  const folder = join(stdout.toString().trim(), "lib", "linux");
  const has =
    existsSync(folder) && readdirSync(folder).some((name) => name.includes("libclang_rt.fuzzer-"));
  return has ? undefined : `libFuzzer is missing; apt-get install libclang-rt-${version}-dev`;
}

/** The programs, made of the sources below `root`, in a folder. */
export class FuzzedShim implements Disposable {
  readonly #root: string;
  readonly #scratch = new Scratch();

  constructor(root = ROOT) {
    this.#root = root;
  }

  [Symbol.dispose](): void {
    this.#scratch[Symbol.dispose]();
  }

  /** Compiles the shim, once. Rejects with what the compiler says. */
  async build(): Promise<void> {
    const shim = join(this.#root, "ffi", "shim");
    const sources = [
      ...UNITS.map((unit) => join(shim, `${unit}.c`)),
      join(this.#root, "test", "fuzz", "shim", "fabrics.c"),
    ];
    const waiting = sources.entries();
    const lanes = Array.from({ length: Math.min(4, availableParallelism()) }, async () => {
      for (const [i, source] of waiting)
        await this.#compile("fuzzer-no-link", ["-c", source, "-o", this.#object(i)]);
    });
    await Promise.all(lanes);
  }

  /**
   * Fuzzes one for so many seconds, or so many inputs (-1: any), from its corpus on. Returns what libFuzzer has said; `failure` is
   * undefined unless it has found something.
   */
  async run(
    target: string,
    {
      seed,
      seconds,
      runs = -1,
      save = false,
    }: { seed: number; seconds: number; runs?: number; save?: boolean },
  ): Promise<{ inputs: number; failure: string | undefined; input: string | undefined }> {
    const program = await this.#program(target);
    const corpus = this.#scratch.join(`${target}-corpus`);
    mkdirSync(corpus, { recursive: true });
    for (const [i, input] of readCorpus(target).entries())
      writeFileSync(join(corpus, `kept-${i}`), input);
    const done = await this.#start([
      ...[program, corpus, `-seed=${seed}`, `-max_total_time=${seconds}`, `-runs=${runs}`],
      ...[`-max_len=${MAX_BYTES}`, "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"],
      `-artifact_prefix=${this.#scratch.path}/`,
    ]);
    if (done.failed) return { ...done, failure: failureIn(done.text) };
    if (save) await this.#save(target, program, corpus);
    return { ...done, failure: undefined };
  }

  /** Tries one input. Returns what is wrong; undefined where nothing is. */
  async replay(target: string, input: Uint8Array): Promise<string | undefined> {
    const file = this.#scratch.join("input");
    writeFileSync(file, input);
    const { failed, text } = await this.#start([await this.#program(target), file]);
    return failed ? failureIn(text) : undefined;
  }

  /** Keeps those that reach something that the shorter ones do not. */
  async #save(target: string, program: string, corpus: string): Promise<void> {
    const least = this.#scratch.join(`${target}-least`);
    mkdirSync(least);
    await this.#start([
      program,
      "-set_cover_merge=1",
      "-use_counters=0",
      `-max_len=${MAX_BYTES}`,
      least,
      corpus,
    ]);
    const inputs = readdirSync(least).map(
      (name) => new Uint8Array(readFileSync(join(least, name))),
    );
    writeCorpus(
      target,
      inputs.toSorted((a, b) => a.length - b.length),
    );
  }

  #object(i: number): string {
    return this.#scratch.join(`${i}.o`);
  }

  async #program(target: string): Promise<string> {
    const program = this.#scratch.join(target);
    if (existsSync(program)) return program;
    const source = join(this.#root, "test", "fuzz", "shim", `${target.slice("shim-".length)}.c`);
    const objects = Array.from({ length: UNITS.length + 1 }, (_, i) => this.#object(i));
    await this.#compile("fuzzer", [source, ...objects, "-o", program, "-ldl"]);
    return program;
  }

  async #compile(sanitizer: string, words: readonly string[]): Promise<void> {
    const first = join(this.#root, "ffi", "shim", "core", "glibc.h");
    const made = Bun.spawn(
      ["clang", ...FLAGS, `-fsanitize=${sanitizer}`, "-include", first, ...words],
      { stdin: "ignore", stdout: "ignore", stderr: "pipe" },
    );
    const said = await made.stderr.text();
    if ((await made.exited) !== 0) throw new Error(`clang ${words.join(" ")}\n${said}`);
  }

  async #start(
    command: readonly string[],
  ): Promise<{ failed: boolean; text: string; inputs: number; input: string | undefined }> {
    const child = Bun.spawn([...command], {
      env: { ...process.env, UBSAN_OPTIONS: "print_stacktrace=1" },
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    const text = await child.stderr.text();
    return {
      failed: (await child.exited) !== 0,
      text,
      inputs: Number(/number_of_executed_units: (\d+)/.exec(text)?.[1] ?? 0),
      input: /^Base64: (\S*)$/m.exec(text)?.[1],
    };
  }
}

/** From what is wrong on: after where it happened comes the input, which can be long. */
function failureIn(text: string): string {
  const at = text.search(/^.*(?:runtime error:|ERROR:)/m);
  return at < 0 ? text.slice(-4000) : text.slice(at, at + 6000);
}
