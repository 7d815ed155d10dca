/** Where `rfaas invoke` has its input from: options, files, pipes, and nothing at all. */
import { afterAll, describe, expect, test } from "bun:test";
import { EXIT } from "../../src/base/errors.ts";
import { RFAAS, rfaas } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());
const MODULE = scratch.file(
  "fn.ts",
  `
  import { Type, defineFunction } from "rfaas/function";
  export const double = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => 2 * n);
  export const none = defineFunction({ input: Type.Null(), output: Type.String() }, (nothing) => String(nothing));
  export const maybe = defineFunction(
    { input: Type.Union([Type.Undefined(), Type.Number()]), output: Type.String() }, String);
  const perhaps = { "~standard": { version: 1, vendor: "test", validate: (value: unknown) =>
    value === undefined || typeof value === "number" ? { value } : { issues: [{ message: "no number" }] } } } as const;
  export const standard = defineFunction({ input: perhaps, output: Type.String() }, String);
  export const any = defineFunction({ input: Type.Any(), output: Type.String() }, String);
  export const length = defineFunction({ input: Type.String(), output: Type.Number() }, (text) => text.length);
  export const bytes = (input: Uint8Array, output: Uint8Array) => new TextEncoder().encodeInto(String(input.length), output).written;
`,
);

interface Ended {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** Runs a shell command line in which `$R` is the executable and `$F` the module. */
async function shell(line: string): Promise<Ended> {
  const child = Bun.spawn(["sh", "-c", line], {
    cwd: scratch.path,
    env: { ...process.env, R: RFAAS, F: MODULE },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

/** Starts a call whose stdin stays open until the test ends it. */
function startWithPipe(name: string, ...args: string[]) {
  const child = Bun.spawn([RFAAS, "invoke", `${MODULE}#${name}`, ...args], {
    cwd: scratch.path,
    stdio: ["pipe", "pipe", "pipe"],
  });
  const waits = Promise.withResolvers<string>();
  let stderr = "";
  void (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream()))
      if ((stderr += text).includes("stdin")) waits.resolve(stderr);
    waits.reject(new Error(`it ended without a word of stdin:\n${stderr}`));
  })();
  waits.promise.catch(() => {});
  return { child, waits: waits.promise };
}

describe("a function that needs a value", () => {
  test.each([
    ["a pipe", "echo 21 | $R invoke $F#double"],
    ["a file", "echo 21 > value; $R invoke $F#double < value"],
    ["a pipe that is named as JSON", "echo 21 | $R invoke $F#double --json -"],
    ["a pipe that is named as bytes", "echo 21 | $R invoke $F#double --input -"],
    ["the command line, whatever is on stdin", "echo nonsense | $R invoke $F#double --json 21"],
  ])("has it from %s", async (_, line) => {
    expect(await shell(line)).toMatchObject({ exitCode: 0, stdout: "42\n" });
  });

  test("has one from a pipe that is larger than what a lease has to begin with", async () => {
    const { stdout } = await shell(
      `{ printf '"'; head -c 5000000 /dev/zero | tr '\\0' a; printf '"'; } | $R invoke $F#length`,
    );
    expect(stdout).toBe("5000000\n");
  });

  test("says that it waits for stdin, and takes what comes", async () => {
    const { child, waits } = startWithPipe("double");
    expect(await waits).toContain('"double" reads its input from stdin, which has not ended yet');
    await child.stdin.write("4");
    await child.stdin.end();
    expect(await child.stdout.text()).toBe("8\n");
    expect(await child.exited).toBe(0);
  }, 60_000);

  test("is given up with Ctrl-C while it waits, without a word of an error", async () => {
    const { child, waits } = startWithPipe("double");
    const said = await waits;
    child.kill("SIGINT");
    await child.exited;
    expect([child.signalCode, said.includes("ERROR")]).toEqual(["SIGINT", false]);
  }, 60_000);

  test.each([
    ["/dev/null, as under cron and ssh -n", "$R invoke $F#double < /dev/null", "none was given"],
    ["a closed stdin", "$R invoke $F#double <&-", "none was given"],
    ["an empty pipe", "printf '' | $R invoke $F#double", "stdin was empty"],
    ["an empty pipe that is named", "printf '' | $R invoke $F#double --json -", "found nothing"],
    ["a closed stdin that is named", "$R invoke $F#double --json - <&-", "found nothing"],
    ["what is no JSON", "echo '{x' | $R invoke $F#double", "is not JSON"],
    ["what is no JSON and named", "echo '{x' | $R invoke $F#double --json -", "is not JSON"],
    ["what is no text", "printf '\\377' | $R invoke $F#double", "is not UTF-8 text"],
    ["two sources", "echo 1 | $R invoke $F#double --json - --input -", "exclude each other"],
  ])("refuses %s, and says what to do", async (_, line, says) => {
    const { exitCode, stdout, stderr } = await shell(line);
    expect([exitCode, stdout]).toEqual([EXIT.usage, ""]);
    expect(stderr).toContain(says);
    expect(stderr).not.toContain("    at ");
  });

  test("does not wait at a terminal", async () => {
    // A terminal of its own, by the one program that is everywhere.
    if (!Bun.which("script")) return console.error("SKIPPED: no script(1) on this machine");
    const { exitCode, stdout } = await shell(`script -qec '$R invoke $F#double' /dev/null`);
    expect(stdout).toContain("none was given");
    expect(exitCode).toBe(EXIT.usage);
  });
});

test.each([
  ["$R invoke $F#standard < /dev/null", '"undefined"\n'],
  ["printf '' | $R invoke $F#any", '"undefined"\n'],
  ["echo 1 | $R invoke $F#standard", '"1"\n'],
])("a function whose schema alone knows what it needs is asked: %s", async (line, printed) => {
  expect(await shell(line)).toMatchObject({ exitCode: 0, stdout: printed });
});

test.each([
  ["a function that takes null", "none", '"null"\n'],
  ["a function that may be called with nothing", "maybe", '"undefined"\n'],
  ["a function on bytes", "bytes", "0"],
])(
  "%s leaves stdin alone",
  async (_, name, printed) => {
    const { child } = startWithPipe(name);
    expect(await child.stdout.text()).toBe(printed);
    expect(await child.exited).toBe(0);
  },
  60_000,
);

test("a directory, and a file that is not there, are no input", async () => {
  for (const args of [
    ["--input", "/tmp"],
    ["--input", scratch.join("absent")],
  ]) {
    const { exitCode, stderr } = await rfaas(["invoke", `${MODULE}#bytes`, ...args]);
    expect(exitCode).toBe(EXIT.failed);
    expect(stderr).toContain(`cannot read --input ${args[1]}`);
    expect(stderr).toContain("name a readable file, or - for stdin");
  }
});
