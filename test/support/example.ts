/** An example of `examples/` as a user has it who copied its folder, and its README, whose commands are typed there. */
import { cpSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { RFAAS, ROOT } from "./executable.ts";
import { Scratch } from "./scratch.ts";

export class Example implements Disposable {
  readonly path: string;
  readonly readme: string;
  readonly #scratch = new Scratch();

  constructor(name: string) {
    const folder = join(ROOT, "examples", name);
    this.readme = readFileSync(join(folder, "README.md"), "utf8");
    this.path = this.#scratch.join(name);
    cpSync(folder, this.path, {
      recursive: true,
      filter: (path) => !/\/node_modules$|\.(so|onnx)$/.test(path),
    });
  }

  join(name: string): string {
    return join(this.path, name);
  }

  /** Starts a command in its folder, as a shell with the executable in its path would. No package `rfaas` can be found there. */
  spawn(
    command: readonly string[],
    env: Record<string, string> = {},
  ): Bun.Subprocess<"ignore", "pipe", "pipe"> {
    const path = [dirname(RFAAS), process.env["PATH"]].join(":");
    return Bun.spawn([...command], {
      cwd: this.path,
      env: { ...process.env, PATH: path, RFAAS_EXECUTABLE: undefined, ...env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
  }

  /** Runs a command to its end. Throws with what it said unless it exits with 0. Returns what it printed. */
  async run(command: readonly string[], env: Record<string, string> = {}): Promise<string> {
    const child = this.spawn(command, env);
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    if ((await child.exited) !== 0)
      throw new Error(`${command.join(" ")} ended with ${child.exitCode}:\n${stdout}${stderr}`);
    return stdout;
  }

  /** The console blocks of the README: what is typed, and what it says that it prints. */
  get consoles(): { typed: string; shown: string }[] {
    return [...this.readme.matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(([, block]) => {
      const lines = block!.split("\n");
      return {
        typed: lines.flatMap((line) => (line.startsWith("$ ") ? [line.slice(2)] : [])).join("\n"),
        shown: lines.filter((line) => !line.startsWith("$ ")).join("\n"),
      };
    });
  }

  [Symbol.dispose](): void {
    this.#scratch[Symbol.dispose]();
  }
}
