/** Typed functions as users meet them: the examples, the command line, several nodes. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { until } from "../support/until.ts";
import { InvalidValue, type Invoker, invoker } from "../support/library.ts";
import { ROOT, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { FABRIC, nodeAddress } from "../support/fabric.ts";
import { Scratch } from "../support/scratch.ts";

type Jacobi = typeof import("../../functions/jacobi/jacobi.ts");
type Pricing = typeof import("../../functions/blackscholes/option.ts");
const JACOBI = join(ROOT, "functions", "jacobi", "jacobi.ts");
const PRICING = join(ROOT, "functions", "blackscholes", "option.ts");
const OPTION = {
  spot: 42,
  strike: 40,
  rate: 0.1,
  volatility: 0.2,
  years: 0.5,
  kind: "call" as const,
};
/** Hull, "Options, Futures, and Other Derivatives": 4.76 for the call, 0.81 for the put. */
const CALL = 4.7594;

const scratch = new Scratch();
let rf: Invoker;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 4 });
});
afterAll(async () => {
  await rf.close();
  scratch[Symbol.dispose]();
});

test("Jacobi's method solves a system whose matrix stays in the workers", async () => {
  const size = 96;
  const workers = 3;
  const solution = Float64Array.from({ length: size }, (_, i) => Math.sin(i) + 2);
  const matrix = Float64Array.from({ length: size * size }, (_, at) => {
    const [row, column] = [Math.floor(at / size), at % size];
    return row === column ? 3 * size : Math.cos(row * 7 + column);
  });
  const right = Float64Array.from({ length: size }, (_, row) =>
    solution.reduce((sum, x, column) => sum + matrix[row * size + column]! * x, 0),
  );
  await using lease = await rf.allocate<Jacobi>(JACOBI, { workers, memory: "2MiB" });
  const load = lease.function("load");
  const sweep = lease.function("sweep");
  await expect(sweep(new Float64Array(size))).rejects.toMatchObject({
    code: "JACOBI_NO_ROWS",
    retryable: true,
  });

  const rows = size / workers;
  const loaded = await Promise.all(
    Array.from({ length: workers }, (_, worker) => {
      const first = worker * rows;
      const mine = matrix.subarray(first * size, (first + rows) * size);
      return load(
        { size, first, matrix: mine, right: right.subarray(first, first + rows) },
        { worker },
      );
    }),
  );
  expect(loaded).toEqual([rows, rows, rows]);

  // A worker counts a call once it has answered.
  let sent = 0;
  await until(
    async () => (sent = (await lease.usage()).bytes) >= matrix.byteLength + right.byteLength,
    "the matrix is counted",
  );
  let found = new Float64Array(size);
  let iterations = 0;
  for (let change = Infinity; change > 1e-12; iterations++) {
    expect(iterations).toBeLessThan(200);
    const parts = await Promise.all(
      Array.from({ length: workers }, (_, worker) => sweep(found, { worker })),
    );
    const next = new Float64Array(size);
    for (const { first, part } of parts) next.set(part, first);
    change = Math.max(...parts.map((part) => part.change));
    found = next;
  }
  for (let i = 0; i < size; i++) expect(found[i]!).toBeCloseTo(solution[i]!, 9);
  // An iteration moves the solution, and nothing of the matrix.
  const perIteration = ((await lease.usage()).bytes - sent) / iterations;
  expect(perIteration).toBeLessThan(2 * (workers + 1) * 8 * size);
});

test("an option has the same price as a value and as a struct", async () => {
  await using lease = await rf.allocate<Pricing>(PRICING, { memory: "1MiB" });
  const price = lease.function("price");
  expect(await price(OPTION)).toBeCloseTo(CALL, 3);
  expect(await price({ ...OPTION, kind: "put" })).toBeCloseTo(0.8086, 3);
  const inPlace = lease.function("priceStruct");
  const { kind: _, ...fields } = OPTION;
  Object.assign(inPlace.input, fields);
  expect(inPlace.invoke().price).toBeCloseTo(CALL, 3);
  await expect(price({ ...OPTION, volatility: 0 })).rejects.toBeInstanceOf(InvalidValue);
});

describe("rfaas invoke", () => {
  test("calls a typed function with JSON and prints JSON", async () => {
    const json = JSON.stringify(OPTION);
    const { stdout, exitCode } = await rfaas([
      "invoke",
      `${PRICING}#price`,
      "--json",
      json,
      "-n",
      "5",
    ]);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toBeCloseTo(CALL, 3);
    const struct = JSON.stringify({ ...OPTION, kind: undefined, put: 1 });
    const priced = await rfaas(["invoke", `${PRICING}#priceStruct`, "--json", struct]);
    expect(JSON.parse(priced.stdout).price).toBeCloseTo(0.8086, 3);
  });

  test("imports rfaas/function in a folder that has no packages, and shows log and progress on stderr", async () => {
    const module = scratch.file(
      "steps.ts",
      `
      import { existsSync } from "node:fs";
      import { Type, defineFunction } from "rfaas/function";
      export default defineFunction({ input: Type.Integer(), output: Type.Array(Type.Any()) }, async (n, ctx) => {
        ctx.log.warn("careful", { n });
        ctx.progress(0.5, "half way");
        while (!existsSync(${JSON.stringify(scratch.join("shown"))})) await Bun.sleep(5);
        return [new Float32Array(n), new Map([[1, 2n]])];
      });`,
    );
    const { stdout, stderr, exitCode } = await rfaas(["invoke", module, "--json", "2"], {
      cwd: scratch.path,
      onStderr: (text) => void (text.includes("half way") && scratch.file("shown", "")),
    });
    expect([stdout, exitCode]).toEqual(["[[0,0],[[1,2]]]\n", 0]);
    expect(stderr).toContain('careful {"n":2}');
    expect(stderr).toContain("50 % half way");
  });

  test.each<[string, string[], number, string]>([
    ["a value that does not validate", ["--json", '{"spot":42}'], 2, "is wrong at /strike"],
    ["no value at all", [], 2, "none was given"],
    ["timings, which values do not have", ["--json", "1", "--timings"], 2, "leave it out"],
  ])("explains %s", async (_, args, code, words) => {
    const { stderr, exitCode } = await rfaas(["invoke", `${PRICING}#price`, ...args]);
    expect([exitCode, stderr.includes(words), stderr.includes("    at ")]).toEqual([
      code,
      true,
      false,
    ]);
  });
});

describe("a function of a group", () => {
  test("calls workers on all nodes, and goes on when one of them dies", async () => {
    const addresses = ["a", "b"].map((name) => nodeAddress(scratch.join(`${name}.sock`)));
    const nodes = await Promise.all(
      addresses.map((address) => ServedNode.start(address, ["--cores", "1", "--fabric", FABRIC])),
    );
    try {
      const list = scratch.file(
        "nodes.json",
        JSON.stringify({
          nodes: addresses.map((address, i) => ({ name: `n${i}`, address })),
        }),
      );
      await using cluster = await invoker({ nodes: list });
      await using group = await cluster.allocate<Pricing>(PRICING, { workers: 2, memory: "1MiB" });
      const price = group.function("price");
      const prices = await Promise.all(Array.from({ length: 50 }, () => price(OPTION)));
      expect(prices.every((value) => Math.abs(value - CALL) < 0.001)).toBe(true);
      expect(price.invoke(OPTION)).toBeCloseTo(CALL, 3);
      expect(group.parts).toHaveLength(2);
      expect((await group.usage()).calls).toBe(51);

      const slots = [1, 2].map(() => group.function("priceStruct").slot());
      for (const slot of slots) {
        Object.assign(slot.input, { ...OPTION, put: 0 });
        expect(slot.invoke().price).toBeCloseTo(CALL, 3);
      }
      nodes[0]!.kill("SIGKILL");
      await nodes[0]!.exited;
      const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => price(OPTION)));
      expect(outcomes.some(({ status }) => status === "fulfilled")).toBe(true);
      for (let i = 0; i < 10; i++) expect(await price(OPTION)).toBeCloseTo(CALL, 3);
    } finally {
      for (const node of nodes) await node[Symbol.asyncDispose]();
    }
  });
});
