/** The line that a terminal shows while a command takes long, on terminals and on pipes. */
import { afterAll, describe, expect, test } from "bun:test";
import { rfaas, RFAAS } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { TerminalProgram } from "../support/terminal.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());
const FUNCTION = `export function size(input: Uint8Array, output: Uint8Array): number {
  return new TextEncoder().encodeInto(String(input.length), output).written;
}
`;
/** Loads for longer than a line waits, however quick the machine is. */
const slow = scratch.file("slow.ts", `await Bun.sleep(2000);\n${FUNCTION}`);
const endless = scratch.file("endless.ts", `await Bun.sleep(1e6);\n${FUNCTION}`);
/** Before the node has the package, it is "bundling and loading". */
const LINE = "loading ";
const CLEARED = "\r\x1b[K";

const onTerminal = (args: readonly string[], env: Record<string, string> = {}) =>
  new TerminalProgram([RFAAS, ...args], { env, cols: 60 });

describe("on a terminal", () => {
  test("a line moves while a module loads, fits, and is gone before the result", async () => {
    await using program = onTerminal(["invoke", slow, "--json", "1"]);
    expect(await program.exited).toBe(0);
    await program.shows("1\r\n");
    const lines = program.shown.split(CLEARED).filter((line) => line.includes(LINE));
    expect(new Set(lines).size).toBeGreaterThan(3);
    for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThan(60);
    expect(program.shown).toMatch(/\r\x1b\[K1\r\n$/);
  });

  test("nothing of it goes to stdout", async () => {
    const out = scratch.join("out");
    await using program = new TerminalProgram(
      ["sh", "-c", `exec "$0" invoke "$1" --json 1 > "$2"`, RFAAS, slow, out],
      {},
    );
    expect(await program.exited).toBe(0);
    await program.shows(LINE);
    expect(await Bun.file(out).text()).toBe("1\n");
  });

  test.each([
    ["--no-progress", ["--no-progress"], {}],
    ["--quiet", ["--quiet"], {}],
    ["a terminal that cannot move", [], { TERM: "dumb" }],
    ["RFAAS_LOG=error", [], { RFAAS_LOG: "error" }],
  ] as const)("there is none with %s", async (_, args, env) => {
    await using program = onTerminal(["invoke", slow, "--json", "1", ...args], env);
    expect(await program.exited).toBe(0);
    await program.shows("1\r\n");
    expect(program.shown).toBe("1\r\n");
  });

  test("Ctrl-C ends the command by its signal, and leaves a clean line", async () => {
    await using program = onTerminal(["invoke", endless, "--json", "1"]);
    await program.shows(LINE);
    program.type("\x03");
    expect(await program.exited).toBe(130);
    await program.shows(/\r\x1b\[K(?:\^C)?$/);
  });

  test("a bench says how far it is between its windows, and each row has its own line", async () => {
    await using program = onTerminal(["bench", "cold", "--iters", "60"]);
    expect(await program.exited).toBe(0);
    await program.shows("prewarmed");
    expect(program.shown).toMatch(/\r\x1b\[Kmeasuring: \d+ of 60, \d+\.\d s/);
    for (const line of program.shown.split("\n"))
      if (/prewarmed|cold /.test(line))
        expect(line.split(CLEARED).at(-1)).not.toContain("measuring");
    expect(program.shown.split(CLEARED).at(-1)).not.toContain("measuring");
  });
});

describe("on a pipe", () => {
  test("there is no line, on stderr neither", async () => {
    expect(await rfaas(["invoke", slow, "--json", "1"])).toMatchObject({
      exitCode: 0,
      stdout: "1\n",
      stderr: "",
    });
  });

  test("--quiet leaves out what is no warning", async () => {
    const args = ["invoke", slow, "--json", "1", "-n", "3"];
    expect((await rfaas(args)).stderr).toContain("3 calls in");
    expect((await rfaas([...args, "--quiet"])).stderr).toBe("");
  });
});
