/** Programs that have the library inside of them: they have no rfaas to start, and must not start themselves in its place. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { RFAAS, ROOT } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

const CLIENT = `
import { appendFileSync } from "node:fs";
import { invoker } from ${JSON.stringify(join(ROOT, "src", "index.ts"))};
appendFileSync(process.env.STARTS, "x");
try {
  await using rf = await invoker();
  console.log("cores", rf.cores);
} catch (error) {
  console.log(error.code, error.message);
  process.exitCode = 7;
}
`;

const scratch = new Scratch();
const starts = scratch.join("starts");
const compiled = scratch.join("client");
const bundled = scratch.join("out/client.js");

beforeAll(async () => {
  const entry = scratch.file("client.ts", CLIENT);
  const bun = [process.execPath, "build", entry];
  for (const flags of [
    ["--compile", `--outfile=${compiled}`],
    ["--compile", "--bytecode", "--format=esm", `--outfile=${compiled}-bytecode`],
    ["--target=bun", `--outdir=${scratch.join("out")}`],
  ])
    expect(
      await Bun.spawn([...bun, ...flags], { stdio: ["ignore", "ignore", "inherit"] }).exited,
    ).toBe(0);
  // A program's main.ts beside its bundle is not ours.
  scratch.file("out/main.ts", CLIENT);
}, 120_000);
afterAll(() => scratch[Symbol.dispose]());

async function start(
  command: readonly string[],
  executable = "",
): Promise<{ exitCode: number; stdout: string; started: number }> {
  rmSync(starts, { force: true });
  const child = Bun.spawn([...command], {
    cwd: "/",
    env: { ...process.env, STARTS: starts, RFAAS_EXECUTABLE: executable, RFAAS_NODE: "" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const stdout = await child.stdout.text();
  const exitCode = await child.exited;
  return { exitCode, stdout, started: existsSync(starts) ? readFileSync(starts).length : 0 };
}

describe.each([
  ["compiled", [compiled]],
  ["compiled to bytecode", [`${compiled}-bytecode`]],
  ["bundled", [process.execPath, bundled]],
])("a client that was %s", (_, command) => {
  test("starts nothing in place of rfaas, and says what is missing", async () => {
    const { exitCode, stdout, started } = await start(command);
    expect(stdout).toContain("RFAAS_NODE_UNREACHABLE rfaas is bundled into");
    expect(stdout).toContain("set RFAAS_EXECUTABLE");
    expect(stdout).toContain("invoker({ node })");
    expect({ exitCode, started }).toEqual({ exitCode: 7, started: 1 });
  }, 60_000);

  test("has a private node of the executable that is named", async () => {
    const { exitCode, stdout, started } = await start(command, RFAAS);
    expect(stdout).toMatch(/^cores \d+\n$/);
    expect({ exitCode, started }).toEqual({ exitCode: 0, started: 1 });
  }, 60_000);
});

test("a compiled client that is named as the executable is not started again", async () => {
  const { stdout, started } = await start([compiled], compiled);
  expect(stdout).toContain("is this program itself");
  expect(started).toBe(1);
}, 60_000);

test.each([
  ["a compiled client", `exec ${compiled} "$@"`],
  ["a bundled client", `exec ${process.execPath} ${bundled} "$@"`],
])(
  "%s that a script starts in place of rfaas starts nothing more",
  async (name, line) => {
    const script = scratch.file("in-place", `#!/bin/sh\n${line}\n`);
    chmodSync(script, 0o755);
    const command = name === "a compiled client" ? [compiled] : [process.execPath, bundled];
    const { exitCode, stdout, started } = await start(command, script);
    expect(stdout).toContain("the private node ended");
    // The second one ends as it loads the library.
    expect({ exitCode, started }).toEqual({ exitCode: 7, started: 1 });
  },
  60_000,
);
