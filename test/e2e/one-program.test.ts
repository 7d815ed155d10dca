/** One program, wherever its workers come from: its address is all that changes. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { RFAAS, ServedNode } from "../support/executable.ts";
import { FABRIC } from "../support/fabric.ts";
import { RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";

const PROGRAM = join(import.meta.dir, "one-program.ts");
const LIMIT_MS = 120_000;

const scratch = new Scratch();
const stack = new AsyncDisposableStack();
/** What the program prints with workers of its own private node. */
let expected: string;
beforeAll(async () => {
  stack.use(scratch as Disposable);
  expected = await run({ cores: 3 });
}, LIMIT_MS);
afterAll(() => stack.disposeAsync());

/** What the program prints when it is told to get its workers there. */
async function run(where: object): Promise<string> {
  const child = Bun.spawn([process.execPath, PROGRAM, JSON.stringify(where)], {
    env: { ...process.env, RFAAS_EXECUTABLE: RFAAS },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect([await child.exited, stderr]).toEqual([0, ""]);
  return stdout;
}

async function serve(name: string, cores: number, ...args: string[]): Promise<string> {
  const flags = ["--cores", String(cores), "--fabric", FABRIC, ...args];
  const node = await ServedNode.start(scratch.join(`${name}.sock`), flags);
  stack.use(node);
  return node.address;
}

test("a program says what it has done to the end on a private node", () => {
  const lines = expected.trimEnd().split("\n");
  expect(lines.at(-1)).toBe('closed: "LeaseRefused"');
  expect(lines).toContain("broadcast: [[0,[7,8,9]],[1,[7,8,9]],[2,[7,8,9]]]");
  expect(lines).toContain('last event: {"type":"released"}');
});

test(
  "the same program prints the same with a node by its address",
  async () => {
    expect(await run({ node: await serve("alone", 3) })).toBe(expected);
  },
  LIMIT_MS,
);

test(
  "the same program prints the same with three nodes of a list",
  async () => {
    const nodes = await Promise.all(["a", "b", "c"].map((name) => serve(name, 1)));
    expect(await run({ nodes })).toBe(expected);
  },
  LIMIT_MS,
);

test(
  "the same program prints the same with three nodes of a manager",
  async () => {
    const manager = await RunningManager.start(scratch.path);
    stack.use(manager);
    await Promise.all(
      ["d", "e", "f"].map((name) => serve(name, 1, "--manager", manager.address, "--name", name)),
    );
    expect(await run({ manager: manager.address })).toBe(expected);
  },
  LIMIT_MS,
);
