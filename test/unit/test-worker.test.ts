/** `rfaas/testing`: functions of a module, run in this process as a worker would. */
import { describe, expect, test } from "bun:test";
import { DeadlineExceeded, FunctionError, InvalidValue } from "../../src/index.ts";
import { Type, defineFunction, defineHooks, struct } from "../../src/function/index.ts";
import type { RawFunction } from "../../src/function/raw.ts";
import { testWorker } from "../../src/testing/index.ts";

const heard: string[] = [];
/** Hears that `longLater` is about to return. */
let longEnded = (): void => {};
const module = {
  hooks: defineHooks({
    init: ({ state }) => void state.set("factor", 3),
    dispose: ({ state }) => void heard.push(`disposed of ${String(state.get("factor"))}`),
  }),
  times: defineFunction(
    { input: Type.Number(), output: Type.Number() },
    (n, { state, log, progress, cold }) => {
      log.info("called", { n, cold });
      progress(0.5, "half");
      return n * (state.get("factor") as number);
    },
  ),
  long: defineFunction(
    { input: Type.Integer(), output: Type.String() },
    async (n): Promise<string> => "x".repeat(n),
  ),
  longLater: defineFunction(
    { input: Type.Integer(), output: Type.Uint8Array() },
    async (n, { invocation: { deadline } }) => {
      await Bun.sleep(deadline === null ? 0 : Math.max(0, deadline.getTime() - Date.now()) + 5);
      longEnded();
      return new Uint8Array(n);
    },
  ),
  slow: defineFunction(
    { input: struct({ ms: "f64", id: "f64", early: "u8" }), output: struct({ id: "f64" }) },
    async (input, output) => {
      const { ms, id, early } = input;
      if (early) output.id = id;
      await Bun.sleep(ms);
      if (!early) output.id = id;
    },
  ),
  wrong: defineFunction({ input: Type.Null(), output: Type.Number() }, () => "no" as never),
  fails: defineFunction(
    { input: Type.Integer(), output: Type.Integer() },
    (times, { invocation: { attempt } }) => {
      if (attempt > times) return attempt;
      throw Object.assign(new TypeError("not yet"), { code: "NOT_YET", retryable: true });
    },
  ),
  patient: defineFunction(
    { input: Type.Null(), output: Type.Null() },
    async (_, { invocation: { signal } }): Promise<null> => {
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      heard.push("let go");
      return null;
    },
  ),
  dogged: defineFunction(
    { input: Type.Boolean(), output: Type.Null() },
    (throws, { invocation: { deadline } }): null => {
      while (Date.now() < deadline!.getTime());
      if (throws) throw new Error("too late");
      return null;
    },
  ),
  add: defineFunction(
    { input: struct({ a: "f64", b: "f64" }), output: struct({ sum: "f64" }) },
    (input, output) => {
      output.sum = input.a + input.b;
    },
  ),
  reverse: ((input, output) => {
    output.set(input.toReversed());
    return input.length;
  }) satisfies RawFunction,
  greedy: (() => 1 << 30) satisfies RawFunction,
};

const mapped = {
  wait: defineFunction({ input: Type.Number(), output: Type.Number() }, async (ms) => {
    if (ms < 0) throw new RangeError("no such delay");
    await Bun.sleep(ms);
    return ms;
  }),
};

describe("a test worker", () => {
  test("calls on values, with state, log and progress", async () => {
    await using worker = await testWorker(module);
    const times = worker.function("times");
    const progress: number[] = [];
    expect(await times(2, { onProgress: ({ fraction }) => progress.push(fraction) })).toBe(6);
    expect(times.invoke(5)).toBe(15);
    expect(worker.logs).toEqual([
      { level: "info", message: "called", data: { n: 2, cold: true } },
      { level: "info", message: "called", data: { n: 5, cold: false } },
    ]);
    expect(worker.progress).toHaveLength(2);
    expect(progress).toEqual([0.5]);
    expect(worker.state.get("factor")).toBe(3);
  });

  test("refuses what a node would refuse, with the path", async () => {
    await using worker = await testWorker(module);
    const input = worker.function("times")("two" as never);
    await expect(input).rejects.toBeInstanceOf(InvalidValue);
    const output = worker.function("wrong")(null);
    await expect(output).rejects.toMatchObject({ side: "output" });
  });

  test("hands out results of any length", async () => {
    await using worker = await testWorker(module);
    const text = await worker.function("long")(1_000_000);
    expect(text).toBe("x".repeat(1_000_000));
  });

  test("lets errors arrive as from a node, and tries again when it is asked to", async () => {
    await using worker = await testWorker(module);
    const fails = worker.function("fails");
    const error = await fails(1).catch((thrown) => thrown as FunctionError);
    expect(error).toBeInstanceOf(FunctionError);
    expect(error).toMatchObject({ name: "TypeError", code: "NOT_YET", retryable: true });
    expect(await fails(2, { retries: 2 })).toBe(3);
  });

  test("takes a function that ends when its deadline has passed for too late, as a node does", async () => {
    await using worker = await testWorker(module);
    const dogged = worker.function("dogged");
    for (const throws of [false, true]) {
      const error = await dogged(throws, { deadlineMs: 5 }).catch((thrown) => thrown as Error);
      expect(error).toBeInstanceOf(DeadlineExceeded);
    }
  });

  test("leaves a call's memory to its function, though the call's deadline has passed", async () => {
    await using worker = await testWorker(module);
    const slow = worker.function("slow");
    const late = slow({ ms: 40, id: 1, early: 0 }, { deadlineMs: 5 });
    await expect(late).rejects.toBeInstanceOf(DeadlineExceeded);
    // Written at once, and read when the late one has written, too.
    expect(await slow({ ms: 80, id: 2, early: 1 })).toEqual({ id: 2 });
  });

  test("keeps no result that nobody waits for", async () => {
    await using worker = await testWorker(module, { memoryBytes: 65_536 });
    const long = worker.function("longLater");
    const ended = new Promise<void>((resolve) => (longEnded = resolve));
    // As long as all that a worker keeps before it lets calls wait.
    const late = long(32 * 1024 * 1024, { deadlineMs: 1 });
    await expect(late).rejects.toBeInstanceOf(DeadlineExceeded);
    await ended;
    expect(await long(3)).toHaveLength(3);
  });

  test("ends a call at its deadline, and tells the function", async () => {
    await using worker = await testWorker(module);
    heard.length = 0;
    const late = worker.function("patient")(null, { deadlineMs: 5 });
    await expect(late).rejects.toBeInstanceOf(DeadlineExceeded);
    await Promise.resolve();
    expect(heard).toEqual(["let go"]);
  });

  test("calls on structs, in place and with copies", async () => {
    await using worker = await testWorker(module);
    const add = worker.function("add");
    add.input.a = 1;
    add.input.b = 2;
    expect(add.invoke().sum).toBe(3);
    expect(await add({ a: 0.5, b: 0.25 })).toEqual({ sum: 0.75 });
  });

  test("calls functions on memory, and does not believe what they say", async () => {
    await using worker = await testWorker(module);
    expect([...(await worker.call("reverse", Uint8Array.of(1, 2, 3)))]).toEqual([3, 2, 1]);
    const greedy = worker.call("greedy", new Uint8Array(1));
    await expect(greedy).rejects.toMatchObject({ code: "RFAAS_WRONG_RESULT" });
  });

  test("disposes of its state, and begins with a new one", async () => {
    const worker = await testWorker(module);
    heard.length = 0;
    worker.state.set("factor", 7);
    await worker.restart();
    expect(heard).toEqual(["disposed of 7"]);
    expect(worker.state.get("factor")).toBe(3);
    await worker[Symbol.asyncDispose]();
    expect(heard).toEqual(["disposed of 7", "disposed of 3"]);
  });

  test("maps over values, in order or as they finish, with what fails as an item or an end", async () => {
    await using worker = await testWorker(mapped);
    const wait = worker.function("wait");
    const delays = [30, 1, 15, -1, 2];
    const settled = await Array.fromAsync(wait.map(delays, { settled: true, concurrency: 8 }));
    expect(settled.map(({ index, status }) => [index, status])).toEqual([
      [0, "fulfilled"],
      [1, "fulfilled"],
      [2, "fulfilled"],
      [3, "rejected"],
      [4, "fulfilled"],
    ]);
    const unordered = wait.map([30, 1], { ordered: false });
    expect(await Array.fromAsync(unordered)).toEqual([1, 30]);
    const failed = await Array.fromAsync(wait.map(delays)).catch((error) => error as FunctionError);
    expect(failed).toMatchObject({ index: 3, message: "no such delay" });
  });

  test("takes values for a map as there is room, and closes their source", async () => {
    await using worker = await testWorker(mapped);
    const wait = worker.function("wait");
    let taken = 0;
    let closed = false;
    async function* source(): AsyncGenerator<number> {
      try {
        for (;;) yield (await Promise.resolve(taken++)) % 3;
      } finally {
        closed = true;
      }
    }
    const seen: number[] = [];
    for await (const value of wait.map(source(), { concurrency: 4 })) {
      seen.push(value);
      expect(taken - seen.length).toBeLessThanOrEqual(6);
      if (seen.length === 50) break;
    }
    expect(seen).toEqual(Array.from({ length: 50 }, (_, i) => i % 3));
    expect(closed).toBe(true);

    function* broken(): Generator<number> {
      yield 1;
      throw new Error("no more");
    }
    const ended = Array.fromAsync(wait.map(broken()));
    await expect(ended).rejects.toThrow("no more");
    expect(await Array.fromAsync(wait.map([]))).toEqual([]);
  });

  test("says that a module without functions has none", async () => {
    await expect(testWorker({ pi: 3.14 })).rejects.toThrow("exports no function (only pi)");
  });
});
