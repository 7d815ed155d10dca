/** Typed functions, their context and their hooks, against a private node: real processes, real shared memory. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import {
  DeadlineExceeded,
  FunctionError,
  InvalidValue,
  type Invoker,
  type Lease,
  type LeaseEventOf,
  LeaseLost,
  ModuleLoadError,
  NoSuchFunction,
  OutOfLeaseMemory,
  UsageError,
  invoker,
} from "../support/library.ts";
import * as definitions from "../functions/typed.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Typed = typeof import("../functions/typed.ts");
const TYPED = join(FUNCTIONS, "typed.ts");

let rf: Invoker;
let shared: Lease<Typed>;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 4 });
  shared = await lease();
});
afterAll(async () => await rf.close());

const lease = (options: Parameters<Invoker["allocate"]>[1] = {}) =>
  rf.allocate<Typed>(TYPED, { memory: "4MiB", polling: "warm", ...options });

async function caught(run: () => unknown): Promise<Error> {
  try {
    await run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("nothing was thrown");
}

const option = { spot: 42, strike: 40, kind: "call" as const };

describe("a typed function", () => {
  test("takes and returns values, awaited and on the spot, hot and warm", async () => {
    for (const polling of ["hot", "warm"] as const) {
      await using held = await lease({ polling });
      const payoff = held.function("payoff");
      expect(await payoff(option)).toEqual({ value: 2 });
      for (let i = 0; i < 500; i++)
        expect(payoff.invoke({ ...option, spot: 40 + i, note: `${i}` })).toEqual({
          value: i,
          note: `${i}`,
        });
    }
  });

  test("carries exotic values there and back unchanged", async () => {
    const value = {
      when: new Date(1.5e12),
      big: -5n,
      map: new Map([[{ a: 1 }, NaN]]),
      set: new Set([-0]),
      samples: new Float64Array([1, -0]).subarray(1),
      nothing: undefined,
      text: "漢🧮",
    };
    const mirror = shared.function("mirror");
    expect(await mirror(value)).toStrictEqual(value);
    expect(mirror.invoke([value])).toStrictEqual([value]);
  });

  test("gives results that do not change when the next call is made", async () => {
    const mirror = shared.function("mirror");
    const first = (await mirror(new Uint8Array([1, 2, 3]))) as Uint8Array;
    await mirror(new Uint8Array([9, 9, 9]));
    expect(first).toEqual(new Uint8Array([1, 2, 3]));
  });

  test("has many calls in flight, each with its own value", async () => {
    await using held = await lease({ workers: 2, slots: 16 });
    const mirror = held.function("mirror");
    const values = Array.from({ length: 300 }, (_, i) => ({ i, text: "x".repeat(i) }));
    expect(await Promise.all(values.map((value) => mirror(value)))).toEqual(values);
  });

  test("sees typed arrays in the lease's memory, without a copy", async () => {
    const samples = new Float64Array([1, 2, 3.5]);
    expect(await shared.function("inPlace")({ name: "odd", samples })).toEqual([true, 6.5]);
  });

  test("may be asynchronous", async () => {
    const later = shared.function("later");
    const ids = await Promise.all([later({ ms: 5 }), later({ ms: 1 })]);
    expect(new Set(ids).size).toBe(2);
  });

  test("is refused by a name that the module does not have, and raw functions by their own way", async () => {
    const untyped = shared as Lease;
    expect(await caught(() => untyped.function("nope"))).toBeInstanceOf(NoSuchFunction);
    const asValue = await caught(() => untyped.function("raw"));
    expect(asValue).toBeInstanceOf(UsageError);
    expect(asValue.message).toContain('lease.invoke("raw", input, output)');
    const bytes = shared.input(Uint8Array, 8);
    for (const call of [
      () => untyped.invoke("payoff", bytes, bytes),
      () => untyped.submit("scale", bytes, bytes),
    ])
      expect((await caught(call)).message).toContain(
        "works on values, not on buffers; call it with lease.function",
      );
    shared.free(bytes);
    expect(["raw", "payoff", "scale"].map((name) => shared.kindOf(name))).toEqual([
      "raw",
      "typed",
      "struct",
    ]);
  });
});

describe("validation", () => {
  test("refuses an input before it is sent, and names the path", async () => {
    const payoff = shared.function("payoff");
    const before = (await shared.usage()).calls;
    for (const run of [
      () => payoff({ ...option, spot: -1 }),
      () => payoff.invoke({ ...option, spot: -1 }),
    ]) {
      const error = (await caught(run)) as InvalidValue;
      expect(error).toBeInstanceOf(InvalidValue);
      expect(error).toMatchObject({ path: "/spot", side: "input", functionName: "payoff" });
    }
    expect(await caught(() => shared.function("mirror")([{ f: () => 1 }]))).toMatchObject({
      path: "/0/f",
      side: "input",
    });
    expect((await shared.usage()).calls).toBe(before);
  });

  test("refuses an output that is not what was promised, or cannot travel", async () => {
    expect(await caught(() => shared.function("wrong")(null))).toMatchObject({
      name: "InvalidValue",
      side: "output",
      path: "/list/1",
      functionName: "wrong",
    });
    expect(await caught(() => shared.function("untravelled")(null))).toMatchObject({
      side: "output",
      path: "/inner/0",
    });
  });

  test("is the worker's with a Standard Schema, whose result the function gets", async () => {
    const { digits, slowDigits } = {
      digits: shared.function("digits"),
      slowDigits: shared.function("slowDigits"),
    };
    expect([
      await digits({ n: "41" }),
      digits.invoke({ n: "1" }),
      await slowDigits({ n: "7" }),
    ]).toEqual([42, 2, 8]);
    for (const call of [digits, slowDigits])
      expect(await caught(() => call({ n: "x" }))).toMatchObject({
        name: "InvalidValue",
        side: "input",
        path: "/n",
        problem: "expected digits",
      });
  });

  test("is the client's too when it has the definition, and converts only once", async () => {
    const before = (await shared.usage()).calls;
    const digits = shared.function("digits", { definition: definitions.digits });
    const slowDigits = shared.function("slowDigits", { definition: definitions.slowDigits });
    for (const call of [digits, slowDigits])
      expect(await caught(() => call({ n: "x" }))).toMatchObject({
        name: "InvalidValue",
        path: "/n",
      });
    expect((await caught(() => slowDigits.invoke({ n: "7" }))).message).toContain("await");
    expect((await shared.usage()).calls).toBe(before);
    expect([await digits({ n: "41" }), await slowDigits({ n: "1" })]).toEqual([42, 2]);
    const other = await caught(() =>
      shared.function("scale", { definition: definitions.scaleLater }),
    );
    expect(other).toBeInstanceOf(UsageError);
  });
});

describe("a result that is longer than anyone could know", () => {
  test("comes all the same, and its function runs once", async () => {
    await using held = await lease();
    const produce = held.function("produce");
    let runs = 0;
    for (const bytes of [10, 5_000, 1_000_000, 200_000, 5_000]) {
      const result = await produce(bytes);
      expect([result.runs, result.bytes.length, result.bytes.at(-1)]).toEqual([
        ++runs,
        bytes,
        bytes & 0xff,
      ]);
      const again = produce.invoke(bytes);
      expect([again.runs, again.bytes.length]).toEqual([++runs, bytes]);
    }
    const timely = produce.invoke(900_000, { deadlineMs: 10_000 });
    expect(timely.runs).toBe(++runs);
  });

  test("is kept by the worker that made it, of several", async () => {
    await using held = await lease({ workers: 2, memory: "16MiB" });
    const produce = held.function("produce");
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, i) => produce(2000 + 40_000 * i)),
    );
    expect(results.map(({ bytes }) => bytes.length)).toEqual(
      results.map((_, i) => 2000 + 40_000 * i),
    );
    expect(results.length).toBe(20);
    for (let i = 0; i < 4; i++) expect(produce.invoke(300_000).bytes.length).toBe(300_000);
  });

  test("and than the lease's memory comes in pieces; a value is refused; what was free is free again", async () => {
    await using held = await lease({ memory: "256KiB" });
    const produce = held.function("produce");
    await produce(10);
    const free = held.freeBytes;
    expect((await produce(5_000_000)).bytes).toEqual(
      new Uint8Array(5_000_000).fill(5_000_000 & 255),
    );
    expect(held.freeBytes).toBe(free);
    expect(produce.invoke(5_000_000).bytes.length).toBe(5_000_000);
    const mirror = held.function("mirror");
    const error = (await caught(() => mirror(new Uint8Array(5_000_000)))) as OutOfLeaseMemory;
    expect(error).toBeInstanceOf(OutOfLeaseMemory);
    expect(error.requestedBytes).toBeGreaterThan(5_000_000);
    expect((await produce(100_000)).bytes.length).toBe(100_000);
    produce[Symbol.dispose]();
  });

  test("leaves no memory taken once the handles are disposed of", async () => {
    await using held = await lease();
    const free = held.freeBytes;
    {
      using produce = held.function("produce");
      using mirror = held.function("mirror");
      using scale = held.function("scale");
      await Promise.all([produce(500_000), produce(700_000), mirror("x".repeat(10_000))]);
      using slot = scale.slot();
      await slot.submit();
    }
    expect(held.freeBytes).toBe(free);
  });
});

describe("a struct function", () => {
  test("works on views in place, with several calls in flight", async () => {
    using scale = shared.function("scale");
    scale.input.factor = 2;
    scale.input.count = 3;
    scale.input.values.set([1, 2, 3]);
    expect(scale.invoke().sum).toBe(12);
    expect([...scale.output.values.subarray(0, 4)]).toEqual([2, 4, 6, 0]);
    const slots = Array.from({ length: 8 }, (_, i) => {
      const slot = scale.slot();
      slot.input.factor = i;
      slot.input.count = 16;
      slot.input.values.fill(1);
      return slot;
    });
    const outputs = await Promise.all(slots.map((slot) => slot.submit()));
    expect(outputs.map(({ sum }) => sum)).toEqual(slots.map((_, i) => 16 * i));
    for (const slot of slots) slot[Symbol.dispose]();
  });

  test("takes plain values too, checks them, and leaves nothing of earlier calls", async () => {
    using scale = shared.function("scale");
    const full = await scale({ factor: 1, count: 16, values: new Float32Array(16).fill(5) });
    expect(full.sum).toBe(80);
    const short = await scale({ factor: 3, count: 1, values: new Array(16).fill(1) });
    expect(short).toEqual({ sum: 3, values: new Float32Array([3, ...new Array(15).fill(0)]) });
    expect(await caught(() => scale({ factor: 1, count: -1, values: [] }))).toMatchObject({
      name: "InvalidValue",
      path: "/count",
      side: "input",
    });
  });

  test("may be asynchronous", async () => {
    using twice = shared.function("scaleLater");
    twice.input.value = 21;
    expect((await twice.submit()).value).toBe(42);
    expect(await twice({ value: 4 })).toEqual({ value: 8 });
  });
});

test("a handle of a lease that was released says so", async () => {
  const held = await lease();
  const payoff = held.function("payoff");
  const scale = held.function("scale");
  const unused = held.function("mirror");
  await payoff(option);
  scale.invoke();
  await held.release();
  for (const run of [
    () => payoff(option),
    () => payoff.invoke(option),
    () => scale.invoke(),
    () => scale.slot(),
    () => unused(1),
    () => held.function("payoff"),
  ])
    expect(await caught(run)).toBeInstanceOf(LeaseLost);
  for (const handle of [payoff, scale, unused]) handle[Symbol.dispose]();
});

describe("what a function throws", () => {
  test("keeps its causes, and says whether it may be tried again", async () => {
    for (const retryable of [true, false]) {
      const error = (await caught(() => shared.function("failing")(retryable))) as FunctionError;
      expect(error).toBeInstanceOf(FunctionError);
      expect(error.retryable).toBe(retryable);
      expect((error.cause as Error).message).toBe("why");
      expect((error.cause as Error).cause).toMatchObject({
        name: "RangeError",
        message: "the root",
        code: "E_ROOT",
      });
    }
  });
});

describe("the context of a call", () => {
  test("says where and for whom it runs; state is the worker's own, cold until its first call", async () => {
    await using held = await lease({ workers: 2 });
    const where = held.function("whereAndWho");
    const told = await Promise.all(
      [0, 1, 0, 1].map((worker) =>
        where(null, { worker, ...(worker ? { deadlineMs: 60_000 } : {}) }),
      ),
    );
    const known = told as { worker: number; cold: boolean; id: string; deadline: Date | null }[];
    expect(known.map(({ worker, cold }) => [worker, cold])).toEqual([
      [0, true],
      [1, true],
      [0, false],
      [1, false],
    ]);
    expect(new Set(known.map(({ id }) => id)).size).toBe(4);
    expect(known[0]).toMatchObject({ workers: 2, attempt: 1, deadline: null, initialised: 0 });
    expect(known[1]).toMatchObject({ initialised: 1 });
    const leftMs = known[1]!.deadline!.getTime() - Date.now();
    expect(leftMs).toBeGreaterThan(0);
    // A worker rounds up by a millisecond, and one on another machine knows the client's clock as late as the greeting came.
    expect(leftMs).toBeLessThanOrEqual(60_050);
  });

  test("is of each worker once, in a broadcast", async () => {
    await using held = await lease({ workers: 3 });
    const told = await held.function("whereAndWho").broadcast(null);
    expect(told.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "fulfilled"]);
    const workers = told.map((one) => (one as { value: { worker: number } }).value.worker);
    expect(workers).toEqual([0, 1, 2]);
    const failed = await held.function("failing").broadcast("message" as never);
    expect(failed.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
  });

  test("carries the number of the attempt", async () => {
    const third = shared.function("thirdTime");
    expect(await third(null, { retries: 2 })).toBe(3);
    const refused = await third(null, { retries: 1 }).catch((error) => error as FunctionError);
    expect(refused).toMatchObject({ message: "attempt 2 is not enough", retryable: true });
  });

  test.each([
    [
      "the caller aborts the call",
      () => ({ signal: AbortSignal.timeout(20) }),
      "the caller has aborted the call",
    ],
    ["the deadline passes", () => ({ deadlineMs: 20 }), "the call's deadline has passed"],
  ])("aborts its signal when %s", async (_, options, words) => {
    await using held = await lease();
    // It may be quicker to answer than its caller is to abort.
    const ended = held.function("patient")(null, options());
    await ended.catch(({ name }: Error) => expect(name).toMatch(/TimeoutError|DeadlineExceeded/));
    const lastWords = held.function("lastWords");
    await until(async () => (await lastWords(null)) === words, "the function heard of it");
  });

  test("stays that of its call, when the function goes on beside another call", async () => {
    await using held = await lease({ slots: 2 });
    const heard: (string | undefined)[] = [];
    const onProgress = ({ message }: { message: string | undefined }) => void heard.push(message);
    const given = new AbortController();
    const survivor = held.function("survivor")(null, { signal: given.signal, onProgress });
    await until(() => heard.includes("begun"), "the function has begun");
    given.abort(new Error("enough"));
    expect((await caught(() => survivor)).message).toBe("enough");
    expect(await held.function("survived")(null, { onProgress })).toBe(true);
    expect(heard).not.toContain("from the grave");
  });

  test("gives the memory of an abandoned call back only when the worker is done with it", async () => {
    await using held = await lease({ memory: "64KiB" });
    const endless = held.function("endless");
    // More calls than the memory has room for: the last take what the worker has let go of earlier ones.
    for (let i = 0; i < 20; i++)
      await until(async () => {
        const error = await caught(() => endless(null, { deadlineMs: 1 }));
        if (error instanceof OutOfLeaseMemory) return false;
        expect(error).toBeInstanceOf(DeadlineExceeded);
        return true;
      }, "the worker is done with an earlier call");
    expect(await held.function("lastWords")(null)).toBeNull();
  }, 30_000);

  test("lets the caller and the node's log hear what is logged, from init on", async () => {
    const lines: LeaseEventOf<"log">[] = [];
    await using held = await lease({ onLog: (line) => lines.push(line) });
    const heard: string[] = [];
    held.on("log", ({ message }) => heard.push(message));
    await held.function("talk")(2);
    await until(() => lines.length >= 3, "three lines have come");
    expect(lines.map(({ message }) => message)).toEqual(["initialised", "step 1", "step 2"]);
    expect(lines[2]).toMatchObject({
      level: "info",
      worker: 0,
      dropped: 0,
      data: { step: 2, of: 2, exact: "10n" },
    });
    expect(heard.slice(-2)).toEqual(["step 1", "step 2"]);
  });

  test("says how many lines were too many", async () => {
    const lines: LeaseEventOf<"log">[] = [];
    await using held = await lease({ onLog: (line) => lines.push(line) });
    await held.function("chatter")(3000);
    await until(() => lines.at(-1)?.message === "the last", "the last line has come");
    const dropped = lines.reduce((sum, line) => sum + line.dropped, 0);
    expect(dropped).toBeGreaterThan(1000);
    expect(lines.length + dropped).toBe(3002);
  });

  test("reports progress to the caller that asks for it, and to no other", async () => {
    await using held = await lease();
    const talk = held.function("talk");
    const seen = new Map<string, number[]>();
    const report = (name: string) => ({
      onProgress: ({ fraction, message }: { fraction: number; message: string | undefined }) => {
        expect(message).toStartWith("step ");
        seen.set(name, [...(seen.get(name) ?? []), fraction]);
      },
    });
    await Promise.all([talk(10, report("ten")), talk(5, report("five")), talk(3)]);
    expect([...seen.keys()].sort()).toEqual(["five", "ten"]);
    for (const [name, steps] of [
      ["ten", 10],
      ["five", 5],
    ] as const) {
      const fractions = seen.get(name)!;
      expect(fractions).toEqual([...fractions].sort((a, b) => a - b));
      expect(
        fractions.every((fraction) => Number.isInteger(Math.round(fraction * steps * 1e6) / 1e6)),
      ).toBe(true);
    }
  });
});

describe("hooks", () => {
  const scratch = new Scratch();
  afterAll(() => scratch[Symbol.dispose]());

  test("run once per worker, before the first call and at the release", async () => {
    const mark = scratch.join("marks");
    const module = scratch.file(
      "hooked.ts",
      `
      import { appendFileSync } from "node:fs";
      import { Type, defineFunction, defineHooks } from "rfaas/function";
      const note = (text: string) => appendFileSync(${JSON.stringify(mark)}, text + "\\n");
      export const lifecycle = defineHooks({
        init: async ({ worker, state }) => { await Bun.sleep(2); state.set("ready", true); note("init " + worker); },
        dispose: async ({ worker, state }) => { await Bun.sleep(150); note("dispose " + worker + " " + state.get("calls")); },
      });
      export const call = defineFunction({ input: Type.Null(), output: Type.Any() }, (_, { state }) => {
        state.set("calls", ((state.get("calls") as number) ?? 0) + 1);
        return state.get("ready");
      });`,
    );
    // It writes a file here.
    await using open = await invoker({ cores: 2, sandbox: "none" });
    const held = await open.allocate(module, { workers: 2, memory: "1MiB" });
    expect(held.functions).toEqual(["call"]);
    expect((await Bun.file(mark).text()).trim().split("\n").sort()).toEqual(["init 0", "init 1"]);
    const call = held.function("call");
    expect(await call(null, { worker: 0 })).toBe(true);
    expect(await call(null, { worker: 1 })).toBe(true);
    expect(await call(null, { worker: 1 })).toBe(true);
    await held.release();
    const marks = (await Bun.file(mark).text()).trim().split("\n").slice(2).sort();
    expect(marks).toEqual(["dispose 0 1", "dispose 1 2"]);
  });

  test("that hang at the release keep nobody for long", async () => {
    const module = scratch.file(
      "hanging.ts",
      `
      import { defineHooks } from "rfaas/function";
      export const hooks = defineHooks({ dispose: () => new Promise(() => {}) });
      export const f = () => 0;`,
    );
    const held = await rf.allocate(module, { memory: "1MiB" });
    await held.release();
    expect((await rf.status()).leases).toBe(1);
  });

  test.each<[string, string, string, string]>([
    [
      "init throws",
      `export const hooks = defineHooks({ init() { throw new RangeError("no model"); } }); export const f = () => 0;`,
      "RFAAS_MODULE_INIT_FAILED",
      "the module's init failed: no model",
    ],
    [
      "there are two of them",
      `export const a = defineHooks({}); export const b = defineHooks({}); export const f = () => 0;`,
      "RFAAS_MODULE_FAILED",
      "join them into one",
    ],
    [
      "a schema is none",
      `export const f = defineFunction({ input: {} as never, output: {} as never }, () => null as never);`,
      "RFAAS_MODULE_FAILED",
      "the input given to defineFunction",
    ],
    [
      "a struct stands beside a schema",
      `export const f = defineFunction({ input: struct({ a: "f64" }), output: Type.Null() } as never, () => null as never);`,
      "RFAAS_MODULE_FAILED",
      "must both be structs",
    ],
  ])(
    "and definitions that are wrong fail the allocation: %s",
    async (name, source, code, words) => {
      const module = scratch.file(
        `${name.replaceAll(" ", "-")}.ts`,
        `import { Type, defineFunction, defineHooks, struct } from "rfaas/function"; void [Type, defineFunction, defineHooks, struct];\n${source}`,
      );
      const error = (await caught(() =>
        rf.allocate(module, { memory: "1MiB" }),
      )) as ModuleLoadError;
      expect(error).toBeInstanceOf(ModuleLoadError);
      expect(error.code).toBe(code);
      expect(error.message).toContain(words);
    },
  );
});
