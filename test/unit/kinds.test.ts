/** Kinds of functions and formats of modules: each is known in its own file and its registry, and a further one works from there. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { InvalidValue, UsageError, WorkerLost } from "../../src/base/errors.ts";
import { FUNCTION_BRAND } from "../../src/base/brand.ts";
import { FunctionTable } from "../../src/client/calls/function-table.ts";
import { joinHandles, openHandle } from "../../src/client/functions/handles.ts";
import type { FunctionHost } from "../../src/client/functions/host.ts";
import type { TypedFunction } from "../../src/client/functions/value-function.ts";
import { LeaseMemory } from "../../src/client/memory/lease-memory.ts";
import { Refusal } from "../../src/codec/refusal.ts";
import { KeptResults } from "../../src/executor/results/kept-results.ts";
import type { AnyDefinition } from "../../src/function/define-function.ts";
import type { FunctionContext } from "../../src/function/context.ts";
import type { RawFunction } from "../../src/function/raw.ts";
import type { ByValue, Description, FunctionKind } from "../../src/kinds/kind.ts";
import { kindNamed } from "../../src/kinds/registry.ts";
import { InProcessCalls } from "../../src/testing/in-process-calls.ts";

const ROOT = join(import.meta.dir, "..", "..");
const sources = new Map(
  [...new Bun.Glob("src/**/*.ts").scanSync(ROOT)].map((path) => [
    path,
    readFileSync(join(ROOT, path), "utf8").replace(/\/\*[\s\S]*?\*\//g, ""),
  ]),
);
const filesWith = (pattern: RegExp): string[] =>
  [...sources].flatMap(([path, source]) => (pattern.test(source) ? [path] : [])).toSorted();
const KINDS = [...new Bun.Glob("src/kinds/*.ts").scanSync(ROOT)].filter(
  (path) => !/\/(kind|registry)\.ts$/.test(path),
);
const LOADERS = ["native", "wasm"];

describe("a kind of function", () => {
  test.each(KINDS)("%s is known to its author's word, itself and the registry", (path) => {
    const name = basename(path, ".ts");
    expect(kindNamed(name).name).toBe(name as never);
    // The three files that one adds or changes for a further kind.
    expect(filesWith(new RegExp(`"${name}"`))).toEqual(["src/function/define-function.ts", path]);
    expect(filesWith(new RegExp(`from "[^"]*kinds/${name}\\.ts"`))).toEqual([]);
    expect(filesWith(new RegExp(`from "\\./${name}\\.ts"`))).toContain("src/kinds/registry.ts");
  });

  test("of another version is refused by name, and leaves the module's other functions callable", () => {
    const functions = new FunctionTable("the module", {
      functions: ["odd", "plain"],
      others: {},
      described: { odd: { kind: "stream", input: null, output: null } },
    });
    expect(() => functions.kindOf("odd")).toThrow(UsageError);
    expect(() => functions.kindOf("odd")).toThrow(
      '"stream" is a kind of function that this version of rfaas does not know; use the same version on both sides',
    );
    expect(functions.kindOf("plain")).toBe("raw");
    expect(functions.indexOf("plain")).toBe(1);
    // What every object has is no kind.
    expect(() => kindNamed("toString")).toThrow(UsageError);
  });
});

describe("a format of modules", () => {
  test.each(LOADERS)("%s is known to the list of formats and to what loads it", (name) => {
    expect(filesWith(new RegExp(`${name}-loader\\.ts"`))).toEqual([
      "src/executor/modules/loader.ts",
    ]);
    expect(filesWith(new RegExp(`^  ${name}(:|,)`, "m"))).toEqual([
      "src/executor/modules/loader.ts",
      "src/library/format-names.ts",
      "src/library/formats.ts",
    ]);
  });

  test("is told by the ending of a name in library/ alone", () => {
    const asked = filesWith(/(endsWith\("\.|\/\\\.)(so|wasm)\b/);
    expect(asked).toEqual(["src/library/format-names.ts"]);
  });
});

/** Whole numbers as decimal text, which no kind of ours is. */
const decimal = {
  name: "decimal" as never,
  describe: (): Description => ({ input: "integer", output: "integer" }),
  prepare:
    (_: string, { run }: AnyDefinition): RawFunction =>
    (input, output, ctx) => {
      const n = Number(Buffer.from(input).toString());
      const text = String((run as (n: number, ctx: FunctionContext) => number)(n, ctx));
      return new TextEncoder().encodeInto(text, output).written;
    },
  open: (): ByValue => ({
    by: "value",
    check(value) {
      if (!Number.isInteger(value)) throw new Refusal("", "is no integer");
    },
    encoder: new DecimalEncoder(),
    ask: undefined,
    decoder: {
      decode: (bytes, length) => Number(Buffer.from(bytes).toString("latin1", 0, length)),
    },
  }),
  nothing: () => undefined,
} satisfies FunctionKind;

class DecimalEncoder {
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  encode(value: unknown): number {
    this.bytes = new TextEncoder().encode(String(value));
    return this.bytes.length;
  }
}

describe("a kind that handles have never seen", () => {
  const arena = 1024 * 1024;

  /** A lease of one worker, in this process. */
  function leaseOf(run: (n: number, ctx: FunctionContext) => number): FunctionHost {
    const definition = { [FUNCTION_BRAND]: decimal.name, input: {}, output: {}, run } as never;
    const kept = new KeptResults();
    const region = {
      arenaBytes: arena,
      lend: (_: number, bytes: number) => new ArrayBuffer(bytes),
      recall: () => true,
    };
    const memory = new LeaseMemory(region, { headroomBytes: 0, pin: undefined });
    const calls = new InProcessCalls(
      {
        functions: [decimal.prepare("f", definition), kept.fetch],
        exports: { functions: ["f"], others: {} },
        hooks: undefined,
        kept,
      },
      { worker: 0, workers: 1, cores: 1, memory: new ArrayBuffer(arena) },
      memory,
      { log() {}, progress() {} },
    );
    calls.startScope();
    const submit = calls.submit.bind(calls, "f", 0);
    return {
      memory,
      workers: 1,
      firstWorker: 0,
      slots: 8,
      nextWorker: () => 0,
      invoke: (input, output, options) => submit(input, output, options).get(),
      submit,
      fetch: (input, output, options) => calls.submit("f", 1, input, output, options),
      onOver: () => () => {},
      holds: (call) => calls.holds(call),
    };
  }
  type Handle = TypedFunction<unknown, unknown>;
  const handleOf = (host: FunctionHost) => openHandle("f", decimal.open(), host) as Handle;

  test("is called, mapped, broadcast and refused as those of ours are", async () => {
    using double = handleOf(leaseOf((n) => 2 * n));
    expect(await double(21)).toBe(42);
    expect(double.invoke(4)).toBe(8);
    expect(await Array.fromAsync(double.map([1, 2, 3]))).toEqual([2, 4, 6]);
    expect(await double.broadcast(5)).toEqual([{ status: "fulfilled", value: 10 }]);
    expect(await double("1").catch((error) => error)).toBeInstanceOf(InvalidValue);
  });

  test("has one handle for several parts of a lease, which leaves the calls of a lost one to the others", async () => {
    let tried = 0;
    const dead: FunctionHost = {
      ...leaseOf((n) => n),
      submit() {
        tried++;
        throw new WorkerLost(0, "it was killed");
      },
    };
    const leases = [dead, leaseOf((n) => n + 1), leaseOf((n) => n + 1)];
    using joined = joinHandles(
      leases.map((host, i) => ({
        part: host,
        handle: handleOf(host),
        workers: 1,
        firstWorker: i,
        slots: 8,
        isOver: () => host === dead,
      })),
    ) as Handle;
    const inputs = [1, 2, 3, 4, 5, 6];
    const results = await Array.fromAsync(joined.map(inputs, { retries: 1 }));
    expect(results).toEqual(inputs.map((n) => n + 1));
    expect(tried).toBeGreaterThan(0);
    tried = 0;
    expect(await Promise.all(inputs.map((n) => joined(n)))).toEqual(results);
    expect(tried).toBe(0);
    // A worker of the lost one that is named is asked all the same.
    await expect(joined(1, { worker: 0, retries: 1 })).rejects.toBeInstanceOf(WorkerLost);
    expect(await joined(1, { worker: 2 })).toBe(2);
    await expect(joined(1, { worker: 3 })).rejects.toThrow("workers 0 to 2");
  });
});
