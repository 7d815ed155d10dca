/** Calls in bulk: map, broadcast, retries, and calls that are refused before they are made; on a private node. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  DeadlineExceeded,
  FunctionError,
  type Invoker,
  LeaseLost,
  NoSuchFunction,
  OutOfLeaseMemory,
  UsageError,
  WorkerLost,
  invoker,
} from "../support/library.ts";
import type { PartLease } from "../../src/client/lease/part.ts";
import { runClient } from "../support/client-program.ts";
import { FUNCTIONS, RFAAS, ServedNode } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

type Good = typeof import("../functions/good.ts");
type Flaky = typeof import("../functions/flaky.ts");
const GOOD = join(FUNCTIONS, "good.ts");
const FLAKY = join(FUNCTIONS, "flaky.ts");
const MIB = 1 << 20;

let rf: Invoker;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 4 });
});
afterAll(() => rf?.close());

const lease = (options: Parameters<Invoker["allocate"]>[1] = {}) =>
  rf.allocate<Good>(GOOD, { memory: "1MiB", workers: 2, ...options });

const flaky = (workers: number) => rf.allocate<Flaky>(FLAKY, { memory: "1MiB", workers });

function* words(count: number): Generator<Uint32Array<ArrayBuffer>> {
  for (let i = 0; i < count; i++) yield new Uint32Array([i, ~i]);
}

async function* eventually<T>(values: Iterable<T>): AsyncGenerator<T> {
  for (const value of values) {
    await Bun.sleep(0);
    yield value;
  }
}

const firstWord = (bytes: Uint8Array): number =>
  new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);

/** What a promise rejects with. */
const rejection = (promise: PromiseLike<unknown>): Promise<unknown> =>
  Promise.resolve(promise).then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => error,
  );

describe("map", () => {
  test("whose program waits for another call while it writes an input mixes up no calls that wait", async () => {
    await using held = await lease({ workers: 1, slots: 1 });
    const word = (n: number) => held.input(Uint32Array, 1).fill(n);
    const [first, before, after] = [0, 1, 2].map(() => held.output(Uint32Array, 1));
    using scratch = new Scratch();
    const free = scratch.join("free");
    const path = new TextEncoder().encode(free);
    const pathInput = held.input(Uint8Array, path.length);
    pathInput.set(path);
    const holdsSlot = held.submit("untilFile", pathInput, first!);
    const waits = held.submit("count", word(0), before!);
    const results = held.map("later", [1, 2], {
      inputBytes: 4,
      outputBytes: 4,
      concurrency: 1,
      deadlineMs: 5,
      settled: true,
      write(ms, room) {
        // The first has ended at its deadline, when the call before it had got the slot.
        if (ms === 2) waits.get();
        new DataView(room.buffer, room.byteOffset).setUint32(0, ms, true);
      },
      read: (bytes) => firstWord(bytes),
    });
    const next = results.next();
    const last = held.submit("count", word(0), after!);
    // Timers stand still, so that the deadline is seen when the slot is free.
    Bun.sleepSync(200);
    writeFileSync(free, "");
    holdsSlot.get();
    expect((await next).value).toMatchObject({ status: "rejected", index: 0 });
    await Promise.all([waits, last]);
    expect([before![0], after![0]]).toEqual([1, 2]);
    for await (const { index } of results) expect(index).toBe(1);
  });

  for (const polling of ["hot", "warm", "adaptive"] as const)
    test(`yields the results of copied inputs in order, on ${polling} workers`, async () => {
      await using held = await lease({ polling });
      const results = await Array.fromAsync(held.map("echo", words(5000)));
      expect(results).toHaveLength(5000);
      for (const [i, { index, bytes, input, output }] of results.entries()) {
        expect([index, bytes, output.length]).toEqual([i, 8, 8]);
        // Each result is memory of its own.
        if (firstWord(output) !== i || input[0] !== i) throw new Error(`result ${i} is another's`);
      }
    });

  test("yields results as they finish when they need not be in order", async () => {
    await using held = await lease({ polling: "warm" });
    // The first takes longest, by far.
    const delays = [400, 1, 1, 1, 1, 1].map((ms) => new Uint32Array([ms]));
    const order: number[] = [];
    for await (const { index, input, output } of held.map("later", delays, { ordered: false })) {
      expect(firstWord(output)).toBe(input[0]!);
      order.push(index);
    }
    expect(order.at(-1)).toBe(0);
    expect([...order].sort()).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test("takes inputs from an asynchronous source, of any typed array, growing as they do", async () => {
    await using held = await lease();
    const inputs = [
      new Uint8Array([1, 2, 3]),
      new Float64Array([1.5, -2.5]),
      new BigInt64Array(600).fill(-7n),
      Buffer.from("text"),
      new Uint8Array(0),
      new Int16Array(5000).fill(-3),
    ];
    const results = await Array.fromAsync(held.map("echo", eventually(inputs), { concurrency: 2 }));
    for (const [i, { output }] of results.entries()) {
      const { buffer, byteOffset, byteLength } = inputs[i]!;
      expect(output).toEqual(new Uint8Array(buffer, byteOffset, byteLength));
    }
    expect(results).toHaveLength(inputs.length);
  });

  test("writes and reads values of any kind with functions of the caller's", async () => {
    await using held = await lease();
    const texts = Array.from({ length: 300 }, (_, i) => "ü".repeat(i));
    const coded = held.map("echo", texts, {
      inputBytes: (text) => 2 * text.length,
      outputBytes: 600,
      write: (text, input) => new TextEncoder().encodeInto(text, input).written,
      read: (output, text, index) => [new TextDecoder().decode(output) === text, index],
    });
    expect(await Array.fromAsync(coded)).toEqual(texts.map((_, i) => [true, i]));
  });

  test("gives results to several askers in the order of asking, and says when it is over", async () => {
    await using held = await lease();
    const results = held.map("echo", words(3));
    const steps = await Promise.all(Array.from({ length: 5 }, () => results.next()));
    expect(steps.map(({ value }) => value?.index)).toEqual([0, 1, 2, undefined, undefined]);
    expect(steps.map(({ done }) => done)).toEqual([false, false, false, true, true]);
    expect(await Array.fromAsync(held.map("echo", []))).toEqual([]);
  });

  test("uses fewer places where the memory holds no more, and says when it holds none", async () => {
    await using held = await lease({ memory: 16_384 });
    const before = held.freeBytes;
    const results = await Array.fromAsync(
      held.map(
        "echo",
        Array.from({ length: 20 }, (_, i) => new Uint8Array(5000).fill(i)),
      ),
    );
    expect(results.map(({ output }) => output[4999])).toEqual(
      Array.from({ length: 20 }, (_, i) => i),
    );
    expect(held.freeBytes).toBe(before);
    const tooLarge = held.map("echo", [new Uint8Array(20_000)]);
    expect(await rejection(tooLarge.next())).toBeInstanceOf(OutOfLeaseMemory);
  });

  test("leaves the loop with nothing in flight, tells the source, and gives its memory back", async () => {
    await using held = await lease();
    const before = held.freeBytes;
    let told = false;
    function* endless(): Generator<Uint32Array<ArrayBuffer>> {
      try {
        for (;;) yield new Uint32Array([2]);
      } finally {
        told = true;
      }
    }
    for await (const { index } of held.map("later", endless())) if (index === 10) break;
    expect(told).toBe(true);
    expect((held as PartLease<Good>).core.lanes.map(({ load }) => load)).toEqual([0, 0]);
    expect(held.freeBytes).toBe(before);
  });

  test("stops waiting when it is aborted, whatever the functions do", async () => {
    await using held = await lease();
    const controller = new AbortController();
    const { signal } = controller;
    const results = held.map("pending", words(10), { signal });
    const first = rejection(results.next());
    controller.abort(new Error("enough"));
    expect(await first).toEqual(new Error("enough"));
    expect((await results.next()).done).toBe(true);
    expect(await rejection(held.map("echo", words(1), { signal }).next())).toBe(signal.reason);
  });

  test("throws the first failure with the index of its input, and stops taking inputs", async () => {
    await using held = await lease();
    const [input, output] = [held.input(Uint8Array, 64), held.output(Uint8Array, 64)];
    const small = held.output(Uint8Array, 8);
    let taken = 0;
    function* pairs() {
      for (;;) yield [input, taken++ === 100 ? small : output] as const;
    }
    const seen: number[] = [];
    const error = await rejection(
      (async () => {
        for await (const { index } of held.map("echo", pairs(), { concurrency: 4 }))
          seen.push(index);
      })(),
    );
    expect(error).toBeInstanceOf(FunctionError);
    expect((error as FunctionError).index).toBe(100);
    expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(taken).toBeLessThanOrEqual(100 + 1 + 4 * 4);
  });

  test("yields failures as items when they are to be settled", async () => {
    await using held = await lease();
    const inputs = [8, 64, 8].map((bytes) => new Uint8Array(bytes));
    const results = await Array.fromAsync(
      held.map("echo", inputs, { settled: true, outputBytes: 8 }),
    );
    expect(results.map(({ status, index }) => [status, index])).toEqual([
      ["fulfilled", 0],
      ["rejected", 1],
      ["fulfilled", 2],
    ]);
    const [, failed] = results;
    if (failed?.status !== "rejected") throw new Error("it did not fail");
    expect(failed.reason).toBeInstanceOf(FunctionError);
  });

  test("throws what its source throws, after the results before", async () => {
    await using held = await lease();
    function* broken() {
      yield* words(5);
      throw new RangeError("no more");
    }
    for (const source of [broken(), eventually(broken())]) {
      const seen: number[] = [];
      const error = await rejection(
        (async () => {
          for await (const { index } of held.map("echo", source)) seen.push(index);
        })(),
      );
      expect(error).toEqual(new RangeError("no more"));
      expect(seen).toEqual([0, 1, 2, 3, 4]);
    }
  });

  test("gives each call its deadline", async () => {
    await using held = await lease({ polling: "warm" });
    const delays = [1, 1, 60_000, 1].map((ms) => new Uint32Array([ms]));
    const results = await Array.fromAsync(
      held.map("later", delays, { deadlineMs: 3000, settled: true }),
    );
    expect(results.map(({ status }) => status)).toEqual([
      "fulfilled",
      "fulfilled",
      "rejected",
      "fulfilled",
    ]);
    const error = await rejection(held.map("later", delays.slice(2), { deadlineMs: 50 }).next());
    expect(error).toBeInstanceOf(DeadlineExceeded);
    expect((error as DeadlineExceeded).index).toBe(0);
  });

  test("refuses what makes no sense", async () => {
    await using held = await lease();
    const next = (options: object, values: unknown = words(1)) =>
      rejection(
        Promise.try(() =>
          held.map("echo", values as Iterable<Uint32Array<ArrayBuffer>>, options).next(),
        ),
      );
    for (const options of [
      { concurrency: 0 },
      { retries: -1 },
      { deadlineMs: 0 },
      { durationMs: -1 },
    ])
      expect(await next(options)).toBeInstanceOf(UsageError);
    expect(await next({}, 5)).toBeInstanceOf(UsageError);
    const detached = new Uint8Array(8);
    detached.buffer.transfer();
    for (const odd of ["text", null, undefined, {}, new Promise(() => {}), detached, [null, 1]])
      for (const error of [
        await next({}, [odd]),
        await rejection(held.broadcast("echo", odd as Uint8Array<ArrayBuffer>)),
      ])
        expect(error).toBeInstanceOf(UsageError);
    expect(await next({}, [[new Uint8Array(8), new Uint8Array(8)]])).toBeInstanceOf(UsageError);
    const missing = held.map("missing" as "echo", words(1));
    expect(await rejection(missing.next())).toBeInstanceOf(NoSuchFunction);
  });

  test("ends with the lease", async () => {
    const held = await lease();
    const first = held.map("pending", words(10)).next();
    const ended = rejection(first);
    await held.release();
    expect(await ended).toBeInstanceOf(LeaseLost);
    expect(await rejection(held.map("echo", words(1)).next())).toBeInstanceOf(LeaseLost);
  });

  // In a program of its own: what other tests leave in theirs comes and goes by tens of megabytes.
  test("takes no more memory for a million inputs than for a hundred thousand", async () => {
    const { said, exitCode, stderr } = await runClient(`
      await using rf = await invoker({ cores: 1 });
      await using held = await rf.allocate(FUNCTIONS + "/good.ts", { memory: "1MiB", polling: "hot" });
      const input = new Uint32Array(2);
      function* same(count) {
        for (let i = 0; i < count; i++) {
          input[0] = i;
          yield input;
        }
      }
      const measure = () => {
        Bun.gc(true);
        return process.memoryUsage();
      };
      const run = async (count) => {
        let next = 0;
        for await (const { output } of held.map("echo", same(count))) {
          const value = new DataView(output.buffer, output.byteOffset).getUint32(0, true);
          if (value !== next) throw new Error("result " + next + " is " + value);
          next++;
        }
        if (next !== count) throw new Error(next + " results of " + count);
      };
      await run(100_000);
      // What an input leaves behind is left in every window; what a compiler or collector takes is not.
      for (let window = 0; window < 6; window++) {
        const before = measure();
        await run(250_000);
        const after = measure();
        const grown = { heap: after.heapUsed - before.heapUsed, resident: after.rss - before.rss };
        say(grown);
        if (grown.heap < ${MIB} && grown.resident < 8 * ${MIB}) break;
      }
    `);
    expect([exitCode, stderr]).toEqual([0, ""]);
    const grown = said as { heap: number; resident: number }[];
    const steady = grown.some(({ heap, resident }) => heap < MIB && resident < 8 * MIB);
    expect(steady ? "steady" : grown).toBe("steady");
  }, 120_000);
});

describe("retries", () => {
  test("repeat a call that says it may be, on another worker each time", async () => {
    await using held = await flaky(2);
    const counter = held.remote(4);
    const [input, output] = [held.input(Uint32Array, 2), held.output(Uint32Array, 1)];
    input.set([counter.offset, 3]);
    const call = held.submit("failsAtFirst", input, output, {
      retries: 3,
      worker: 0,
      timings: true,
    });
    expect(await call).toBe(4);
    expect([call.attempt, call.worker, output[0]]).toEqual([3, 1, 1]);
    expect(call.timings!.ranNs).toBeGreaterThan(0);

    counter.write(0, held.input(Uint32Array, 1).fill(0));
    const tooFew = held.submit("failsAtFirst", input, output, { retries: 2 });
    const error = await rejection(tooFew);
    expect(error).toBeInstanceOf(FunctionError);
    expect((error as FunctionError).retryable).toBe(true);
    expect(tooFew.attempt).toBe(2);
  });

  test("are made when a call is waited for on the spot, and with one worker", async () => {
    for (const workers of [1, 2]) {
      await using held = await flaky(workers);
      const [input, output] = [held.input(Uint32Array, 2), held.output(Uint32Array, 1)];
      input.set([held.remote(4).offset, 2]);
      const call = held.submit("failsAtFirst", input, output, { retries: 2 });
      expect(call.get()).toBe(4);
      expect(call.attempt).toBe(2);
    }
  });

  test("are not made for other failures, nor unless they are asked for", async () => {
    await using held = await flaky(2);
    const counter = held.remote(4);
    const read = held.output(Uint32Array, 1);
    const [input, output] = [held.input(Uint32Array, 2), held.output(Uint32Array, 1)];
    input.set([counter.offset, 1]);
    await rejection(held.submit("failsForGood", input, output, { retries: 5 }));
    counter.read(0, read);
    expect(read[0]).toBe(1);
    counter.write(0, read.fill(0));
    await rejection(held.submit("failsAtFirst", input, output));
    counter.read(0, read);
    expect(read[0]).toBe(1);
  });

  test("go to the workers that are left when one is lost", async () => {
    await using held = await flaky(2);
    const [input, output] = [held.input(Uint32Array, 2), held.output(Uint32Array, 1)];
    const call = held.submit("endsWorker", input, output, { retries: 1, worker: 0 });
    expect(await call).toBe(4);
    expect([call.worker, output[0]]).toEqual([1, 1]);
  });

  test("share one deadline", async () => {
    await using held = await flaky(1);
    const [input, output] = [held.input(Uint32Array, 2), held.output(Uint32Array, 1)];
    input.set([held.remote(4).offset, 2 ** 31]);
    const error = await rejection(
      held.submit("failsAtFirst", input, output, { retries: 1000, deadlineMs: 5 }),
    );
    // A thousand attempts may be quicker than the deadline; what they end with is one of the two.
    expect(error instanceof DeadlineExceeded || error instanceof FunctionError).toBe(true);
  });

  test("of a map bring every input to one result", async () => {
    await using held = await flaky(2);
    const counters = held.remote(400);
    const inputs = Array.from(
      { length: 100 },
      (_, i) => new Uint32Array([counters.offset + 4 * i, i % 4]),
    );
    const results = await Array.fromAsync(held.map("failsAtFirst", inputs, { retries: 3 }));
    expect(results.map(({ index }) => index)).toEqual(inputs.map((_, i) => i));
    const counts = held.output(Uint32Array, 100);
    counters.read(0, counts);
    expect([...counts]).toEqual(inputs.map((_, i) => (i % 4) + 1));

    counters.write(0, counts.fill(0));
    const error = await rejection(
      Array.fromAsync(held.map("failsAtFirst", inputs, { retries: 2 })),
    );
    expect((error as FunctionError).index).toBe(3);
  });

  test("of a map go on with the workers that are left", async () => {
    await using held = await flaky(2);
    const inputs = Array.from({ length: 50 }, () => new Uint32Array(2));
    const results = await Array.fromAsync(held.map("endsWorker", inputs, { retries: 1 }));
    expect(results.map(({ output }) => firstWord(output))).toEqual(inputs.map(() => 1));
  });
});

describe("broadcast", () => {
  test("runs once on every worker and tells their results apart", async () => {
    await using held = await lease({ workers: 3 });
    const before = held.freeBytes;
    const results = await held.broadcast("whoAmI", new Uint8Array(0), { outputBytes: 8 });
    expect(results).toEqual(
      [0, 1, 2].map((worker) => ({
        status: "fulfilled",
        worker,
        bytes: 8,
        output: new Uint8Array(new Uint32Array([worker, 3]).buffer),
      })),
    );
    const counts = await held.broadcast("count", new Uint8Array(4));
    expect(counts.map((end) => end.status === "fulfilled" && firstWord(end.output))).toEqual([
      1, 1, 1,
    ]);
    expect(held.freeBytes).toBe(before);
  });

  test("reports a worker that is lost, and the others' results", async () => {
    await using held = await flaky(3);
    for (const _ of ["meanwhile", "before"]) {
      const [lost, ...others] = await held.broadcast("endsWorker", new Uint8Array(8));
      expect(lost).toMatchObject({ status: "rejected", worker: 0 });
      expect(lost!.status === "rejected" && lost!.reason).toBeInstanceOf(WorkerLost);
      expect(others.map(({ status, worker }) => [status, worker])).toEqual([
        ["fulfilled", 1],
        ["fulfilled", 2],
      ]);
    }
  });

  test("ends by its deadline, and refuses functions that are not there", async () => {
    await using held = await lease({ polling: "warm" });
    const ends = await held.broadcast("pending", new Uint8Array(8), { deadlineMs: 20 });
    for (const end of ends)
      expect(end.status === "rejected" && end.reason).toBeInstanceOf(DeadlineExceeded);
    const missing = held.broadcast("missing" as "echo", new Uint8Array(8));
    expect(await rejection(missing)).toBeInstanceOf(NoSuchFunction);
  });
});

describe("a call that cannot finish", () => {
  test("before its own deadline is refused at once, and when its turn comes too late", async () => {
    await using held = await lease({ workers: 1, slots: 1, polling: "warm" });
    const view = held.input(Uint32Array, 1).fill(100);
    const tooLong = { deadlineMs: 50, durationMs: 100 };
    expect(() => held.invoke("echo", view, view, tooLong)).toThrow(DeadlineExceeded);
    const error = await rejection(held.submit("echo", view, view, tooLong));
    expect(error).toBeInstanceOf(DeadlineExceeded);
    expect((error as Error).message).toMatch(/the call takes 100 ms, and \d+ ms are left/);
    // The ring is full for a tenth of a second; what waits for it has too little time left then.
    const first = held.submit("later", view, view);
    const queued = held.submit("count", view, view, { deadlineMs: 30_000, durationMs: 29_990 });
    expect(await rejection(queued)).toBeInstanceOf(DeadlineExceeded);
    expect(await first).toBe(4);
    // It never ran.
    expect(await held.submit("count", view, view)).toBe(4);
    expect(view[0]).toBe(1);
  });

  test("before its lease ends is refused with what is left of it", async () => {
    using scratch = new Scratch();
    await using node = await ServedNode.start(scratch.join("node.sock"), ["--drain", "30"]);
    await using client = await invoker({ node: node.address });
    const held = await client.allocate<Good>(GOOD, { memory: "1MiB", polling: "hot", ttlMs: 1000 });
    const view = held.input(Uint8Array, 8);
    // It will be renewed: a deadline beyond its time is no reason.
    expect(held.invoke("echo", view, view, { deadlineMs: 100_000 })).toBe(8);
    const revoking = new Promise((resolve) => held.on("revoking", resolve));
    node.kill("SIGTERM");
    await revoking;
    const refused = /takes the lease back in \d+ ms, and the call may take 100000 ms/;
    for (const need of [{ deadlineMs: 100_000 }, { durationMs: 100_000 }]) {
      expect(() => held.invoke("echo", view, view, need)).toThrow(refused);
      const error = await rejection(held.submit("echo", view, view, need));
      expect(error).toBeInstanceOf(LeaseLost);
      expect((error as Error).message).toMatch(refused);
      expect(await rejection(held.map("echo", [view], need).next())).toBeInstanceOf(LeaseLost);
    }
    // Of these it is not known that they cannot, or known that they can.
    expect(held.invoke("echo", view, view)).toBe(8);
    expect(held.invoke("echo", view, view, { deadlineMs: 100_000, durationMs: 5 })).toBe(8);
    expect(await held.submit("echo", view, view, { deadlineMs: 5_000 })).toBe(8);
    await held.release();
  });
});
