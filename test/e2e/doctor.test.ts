/** The commands that `rfaas doctor` advises, typed where it advised them. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import type { Advice } from "../../src/doctor/advice.ts";
import { RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { onOneMachine } from "../support/fabric.ts";
import { RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());
for (const folder of ["bin", "run", "run/rfaas", "empty", "module", "served"])
  mkdirSync(scratch.join(folder));
symlinkSync(RFAAS, scratch.join("bin/rfaas"));
const FUNCTION = `export function size(input: Uint8Array, output: Uint8Array): number {
  return new TextEncoder().encodeInto(String(input.length), output).written;
}
`;
scratch.file("module/fn.ts", FUNCTION);
scratch.file("served/fn.ts", FUNCTION);

const ENV = {
  PATH: `${scratch.join("bin")}:${process.env["PATH"]}`,
  XDG_RUNTIME_DIR: scratch.join("run"),
  XDG_CACHE_HOME: scratch.join("cache"),
  RFAAS_MANAGER: "",
  RFAAS_NODE: "",
};

async function adviceIn(folder: string, env: Record<string, string> = {}): Promise<Advice[]> {
  const { stdout } = await rfaas(["doctor", "--json"], { cwd: folder, env: { ...ENV, ...env } });
  const { next } = JSON.parse(stdout) as { next: Advice[] };
  expect(next).toHaveLength(3);
  return next;
}

/** As a user would; what measures does so briefly, and what serves is ended when it does. */
async function typed(command: string, folder: string, env: Record<string, string> = {}) {
  const brief = /\bbench\b/.test(command) ? " --pairs 1 --iters 1000" : "";
  const child = Bun.spawn(["sh", "-c", `exec ${command}${brief}`], {
    cwd: folder,
    env: { ...process.env, ...ENV, ...env },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  let stderr = "";
  const reading = (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) stderr += text;
  })();
  if (/\bserve\b/.test(command) && !/\bhelp\b/.test(command)) {
    await until(() => stderr.includes("serving") || child.exitCode !== null, "it serves");
    child.kill("SIGTERM");
  }
  const exitCode = await child.exited;
  await reading;
  expect([command, exitCode, exitCode === 0 ? "" : stderr]).toEqual([command, 0, ""]);
}

beforeAll(() => expect(Bun.which("rfaas", { PATH: ENV.PATH })).toBe(scratch.join("bin/rfaas")));

test("in an empty folder, all three work", async () => {
  const folder = scratch.join("empty");
  const advice = await adviceIn(folder);
  const commands = advice.map(({ command }) => command);
  expect(commands).toContain(`rfaas invoke rfaas:echo#echo --json '"hello"'`);
  expect(commands).toContain("rfaas new hello");
  for (const command of commands) await typed(command, folder);
  // What the second has made is what the next visit finds.
  const project = `${folder}/hello`;
  const there = (await adviceIn(project)).map(({ command }) => command);
  expect(there).toEqual(["rfaas test", "rfaas run client.ts", "rfaas serve --watch hello.ts"]);
  for (const command of there) await typed(command, project);
});

test("beside a module, all three work", async () => {
  const folder = scratch.join("module");
  const advice = await adviceIn(folder);
  expect(advice[0]!.command).toBe("rfaas serve --watch fn.ts");
  for (const { command } of advice) await typed(command, folder);
});

onOneMachine("a node is found at its user's socket").test(
  "where a node and a manager run, all three ask them",
  async () => {
    await using manager = await RunningManager.start(scratch.path);
    const socket = scratch.join("run/rfaas/node.sock");
    await using _node = await ServedNode.start(socket, ["--manager", manager.address]);
    const folder = scratch.join("served");
    const env = { RFAAS_MANAGER: manager.address };
    const advice = await adviceIn(folder, env);
    expect(advice.map(({ command }) => command)).toEqual([
      `rfaas package push fn.ts --node ${socket}`,
      `rfaas ps --manager ${manager.address}`,
      `rfaas ps --node ${socket}`,
    ]);
    for (const { command } of advice) await typed(command, folder, env);
  },
);

test("without --json the three stand behind the findings", async () => {
  const { stdout } = await rfaas(["doctor"], { cwd: scratch.join("module"), env: ENV });
  const [, next] = stdout.split("\nTry next:\n");
  expect(next!.match(/^ {2}\S.*\n {6}\S.*$/gm)).toHaveLength(3);
});
