/** Batches: many calls by one submitMany, on a private node and on two. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type CallBatch,
  DeadlineExceeded,
  FunctionError,
  type Invoker,
  type Lease,
  LeaseLost,
  NoSuchFunction,
  UsageError,
  WorkerLost,
  invoker,
} from "../support/library.ts";
import { FUNCTIONS, RFAAS, ServedNode } from "../support/executable.ts";
import { nodeAddress } from "../support/fabric.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Good = typeof import("../functions/good.ts");
type Flaky = typeof import("../functions/flaky.ts");
const GOOD = join(FUNCTIONS, "good.ts");
const FLAKY = join(FUNCTIONS, "flaky.ts");

let rf: Invoker;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 4 });
});
afterAll(() => rf?.close());

const lease = (options: Parameters<Invoker["allocate"]>[1] = {}) =>
  rf.allocate<Good>(GOOD, { memory: "4MiB", workers: 2, ...options });

type Words = Uint32Array<ArrayBuffer>;

/** Buffers of `length` words each; the first word of each input is its place. */
function buffers(
  held: Pick<Lease, "input" | "output">,
  count: number,
  length = 2,
): { inputs: Words[]; outputs: Words[] } {
  return {
    inputs: Array.from({ length: count }, (_, i) => held.input(Uint32Array, length).fill(i)),
    outputs: Array.from({ length: count }, () => held.output(Uint32Array, length).fill(0xdead)),
  };
}

/** What a promise rejects with. */
const rejection = (promise: PromiseLike<unknown>): Promise<unknown> =>
  Promise.resolve(promise).then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => error,
  );

const WAYS: Record<string, (batch: CallBatch) => Promise<Int32Array> | Int32Array> = {
  await: async (batch) => await batch,
  get: (batch) => batch.get(),
};

describe("submitMany", () => {
  for (const [way, ended] of Object.entries(WAYS))
    for (const polling of ["hot", "warm", "adaptive"] as const)
      for (const length of [2, 20])
        test(`brings every payload of ${4 * length} B there and back, far more of them than there are slots (${way}, ${polling})`, async () => {
          await using held = await lease({ polling, slots: 8 });
          const { inputs, outputs } = buffers(held, 1000, length);
          for (let round = 0; round < 3; round++) {
            for (const [i, input] of inputs.entries()) input.fill(i * 3 + round);
            const bytes = await ended(held.submitMany("echo", inputs, outputs));
            expect([...bytes]).toEqual(new Array(1000).fill(4 * length));
            for (const [i, output] of outputs.entries())
              if (output.some((word) => word !== i * 3 + round))
                throw new Error(`output ${i} of round ${round} is ${output}`);
          }
        });

  test("calls all workers, each about equally often, or the one that it is told", async () => {
    await using held = await lease({ workers: 3, slots: 4 });
    const { inputs, outputs } = buffers(held, 8);
    // Calls that last: who has few gets more.
    for (const input of inputs) input[0] = 20;
    await held.submitMany("later", inputs, outputs);
    await held.submitMany("whoAmI", inputs, outputs);
    const who = new Set(outputs.map(([worker]) => worker));
    expect([...who].toSorted()).toEqual([0, 1, 2]);
    await held.submitMany("whoAmI", inputs, outputs, { worker: 2 });
    expect(outputs.map(([worker]) => worker)).toEqual(new Array(8).fill(2));
  });

  test("runs calls that are promises, and those that nobody awaits", async () => {
    await using held = await lease({ slots: 4 });
    const { inputs, outputs } = buffers(held, 100);
    const batch = held.submitMany("soon", inputs, outputs);
    expect([batch.size, batch.done]).toEqual([100, false]);
    await until(() => batch.done, "all calls have ended");
    expect(batch.ended).toBe(100);
    expect(outputs.map(([word]) => word)).toEqual([...inputs.keys()]);
    expect([...batch.get()]).toEqual(new Array(100).fill(8));
  });

  test("of no calls resolves to no results", async () => {
    await using held = await lease();
    expect([...(await held.submitMany("echo", [], []))]).toEqual([]);
    expect(held.submitMany("echo", [], []).get().length).toBe(0);
  });

  test("rejects with the first failure by place, once all have ended; the others have their results", async () => {
    await using held = await lease({ slots: 4 });
    const { inputs, outputs } = buffers(held, 30);
    // An output that is too small makes echo throw.
    for (const at of [25, 7]) outputs[at] = held.output(Uint32Array, 1);
    const batch = held.submitMany("echo", inputs, outputs);
    const error = await rejection(batch);
    expect(error).toBeInstanceOf(FunctionError);
    expect(error).toMatchObject({ index: 7 });
    expect([batch.done, batch.ended]).toEqual([true, 30]);
    expect(batch.failures.map(({ index }) => index)).toEqual([7, 25]);
    for (const [i, output] of outputs.entries()) if (output.length === 2) expect(output[0]).toBe(i);
    expect(() => held.submitMany("echo", inputs, outputs).get()).toThrow(FunctionError);
  });

  test("with settled tells failures by place, and does not reject", async () => {
    await using held = await lease({ slots: 4 });
    const { inputs, outputs } = buffers(held, 30);
    outputs[11] = held.output(Uint32Array, 1);
    const batch = held.submitMany("echo", inputs, outputs, { settled: true });
    const bytes = await batch;
    expect([...bytes]).toEqual(Array.from({ length: 30 }, (_, i) => (i === 11 ? -1 : 8)));
    expect(batch.failures).toHaveLength(1);
    expect(batch.failures[0]!.index).toBe(11);
    expect(batch.failures[0]!.error).toBeInstanceOf(FunctionError);
  });

  for (const [way, ended] of Object.entries(WAYS))
    test(`ends at its deadline what has no answer by then, posted or not (${way})`, async () => {
      await using held = await lease({ workers: 1, slots: 4 });
      const { inputs, outputs } = buffers(held, 12);
      const quick = buffers(held, 2);
      const batch = held.submitMany("pending", inputs, outputs, { deadlineMs: 60, settled: true });
      const bytes = await ended(batch);
      expect([...bytes]).toEqual(new Array(12).fill(-1));
      for (const { error } of batch.failures) expect(error).toBeInstanceOf(DeadlineExceeded);
      // What runs too long is ended with its worker, which comes back.
      expect([...(await held.submitMany("echo", quick.inputs, quick.outputs))]).toEqual([8, 8]);
    });

  test("is refused at once where its calls cannot make the deadline", async () => {
    await using held = await lease({ workers: 1 });
    const { inputs, outputs } = buffers(held, 3);
    const batch = held.submitMany("count", inputs, outputs, { deadlineMs: 10, durationMs: 50 });
    expect(await rejection(batch)).toBeInstanceOf(DeadlineExceeded);
    expect(await held.submit("count", inputs[0]!, outputs[0]!)).toBe(4);
    expect(outputs[0]![0]).toBe(1);
  });

  test("ends when its signal aborts, and the buffers of calls that run stay held", async () => {
    await using held = await lease({ workers: 1, slots: 2 });
    using scratch = new Scratch();
    const free = scratch.join("free");
    const path = new TextEncoder().encode(free);
    const inputs = Array.from({ length: 5 }, () => held.input(Uint8Array, path.length));
    for (const input of inputs) input.set(path);
    const outputs = inputs.map(() => held.output(Uint32Array, 1024));
    const before = held.freeBytes;
    const stop = new AbortController();
    const batch = held.submitMany("untilFile", inputs, outputs, { signal: stop.signal });
    const failed = rejection(batch);
    const reason = new Error("enough");
    stop.abort(reason);
    expect(await failed).toBe(reason);
    expect(batch.ended).toBe(5);
    for (const buffer of [...inputs, ...outputs]) held.free(buffer);
    // Two run: their buffers are not free until they have returned.
    const freed = held.freeBytes - before;
    expect(freed).toBeGreaterThanOrEqual(3 * 4096);
    expect(freed).toBeLessThan(4 * 4096);
    writeFileSync(free, "");
    await until(() => held.freeBytes - before >= 5 * 4096, "the functions have returned");
    const aborted = held.submitMany("echo", [], [], { signal: AbortSignal.abort() });
    expect(aborted.done).toBe(true);
    const { inputs: more, outputs: room } = buffers(held, 2);
    const late = held.submitMany("echo", more, room, { signal: AbortSignal.abort("late") });
    expect(await rejection(late)).toBe("late");
    expect(room[0]![0]).toBe(0xdead);
  });

  test("buffers that are freed meanwhile are given to no one before all calls have ended", async () => {
    await using held = await lease({ workers: 1, slots: 2 });
    const { inputs, outputs } = buffers(held, 6, 1024);
    for (const input of inputs) input[0] = 20;
    const before = held.freeBytes;
    const batch = held.submitMany("later", inputs, outputs);
    for (const buffer of [...inputs, ...outputs]) held.free(buffer);
    expect(held.freeBytes).toBe(before);
    await batch;
    expect(held.freeBytes).toBe(before + 12 * 4096);
  });

  test("goes on on the other workers when one is lost, with retries for what was in flight there", async () => {
    await using held = await rf.allocate<Flaky>(FLAKY, { memory: "1MiB", workers: 2, slots: 4 });
    const { inputs, outputs } = buffers(held, 40);
    const batch = held.submitMany("endsWorker", inputs, outputs, { retries: 3 });
    expect([...(await batch)]).toEqual(new Array(40).fill(4));
    expect(outputs.map(([worker]) => worker)).toEqual(new Array(40).fill(1));
  });

  test.each(Object.entries(WAYS))(
    "makes calls of a lost worker again by the others where all are idempotent, by %s",
    async (_, ended) => {
      await using held = await rf.allocate<Flaky>(FLAKY, { memory: "1MiB", workers: 2, slots: 4 });
      const { inputs, outputs } = buffers(held, 40);
      const batch = held.submitMany("endsWorker", inputs, outputs, { idempotent: true });
      expect([...(await ended(batch))]).toEqual(new Array(40).fill(4));
      expect(outputs.map(([worker]) => worker)).toEqual(new Array(40).fill(1));
    },
  );

  test("tells calls of a lost worker that may not be repeated, and makes the others", async () => {
    await using held = await rf.allocate<Flaky>(FLAKY, { memory: "1MiB", workers: 2, slots: 4 });
    const { inputs, outputs } = buffers(held, 40);
    const batch = held.submitMany("endsWorker", inputs, outputs, { settled: true });
    const bytes = await batch;
    const lost = batch.failures.map(({ index }) => index);
    expect(lost.length).toBeGreaterThan(0);
    expect(lost.length).toBeLessThanOrEqual(4);
    for (const { error } of batch.failures) expect(error).toBeInstanceOf(WorkerLost);
    for (const [i, written] of bytes.entries()) expect(written).toBe(lost.includes(i) ? -1 : 4);
  });

  test("ends with the loss when no worker is left, and with the release", async () => {
    const held = await rf.allocate<Flaky>(FLAKY, { memory: "1MiB", workers: 1, slots: 2 });
    const { inputs, outputs } = buffers(held, 10);
    const batch = held.submitMany("endsWorker", inputs, outputs, { retries: 5, settled: true });
    expect([...(await batch)]).toEqual(new Array(10).fill(-1));
    for (const { error } of batch.failures) expect(error).toBeInstanceOf(WorkerLost);
    await held.release();
    const other = await lease({ workers: 1, slots: 2 });
    const more = buffers(other, 10);
    const unfinished = rejection(other.submitMany("pending", more.inputs, more.outputs));
    await other.release();
    expect(await unfinished).toBeInstanceOf(LeaseLost);
    expect(() => other.submitMany("echo", more.inputs, more.outputs)).toThrow(LeaseLost);
  });

  test("repeats calls whose functions say that they may be", async () => {
    await using held = await rf.allocate<Flaky>(FLAKY, { memory: "1MiB", workers: 2, slots: 4 });
    const counts = held.remote(80);
    const attempts = held.output(Uint32Array, 20);
    const { inputs, outputs } = buffers(held, 20);
    for (const [i, input] of inputs.entries()) input.set([counts.offset + 4 * i, i % 3]);
    const batch = held.submitMany("failsAtFirst", inputs, outputs, { retries: 2 });
    expect([...(await batch)]).toEqual(new Array(20).fill(4));
    counts.read(0, attempts);
    expect([...attempts]).toEqual(Array.from({ length: 20 }, (_, i) => (i % 3) + 1));
    counts.write(0, attempts.fill(0));
    const once = held.submitMany("failsAtFirst", inputs, outputs, { retries: 1, settled: true });
    expect([...(await once)]).toEqual(Array.from({ length: 20 }, (_, i) => (i % 3 > 1 ? -1 : 4)));
  });

  test("single calls that are submitted meanwhile do not wait for all of it", async () => {
    await using held = await lease({ workers: 1, slots: 2 });
    const { inputs, outputs } = buffers(held, 50);
    for (const input of inputs) input[0] = 5;
    const batch = held.submitMany("later", inputs, outputs);
    await held.submit("echo", held.input(Uint32Array, 1), held.output(Uint32Array, 1));
    expect(batch.done).toBe(false);
    await batch;
  });

  test("copies memory of the program's own there and back", async () => {
    await using held = await lease({ slots: 4 });
    const own = new Uint32Array(new ArrayBuffer(4 * 200));
    const room = new Uint32Array(new ArrayBuffer(4 * 200));
    using _in = held.register(own);
    using _out = held.register(room);
    for (let i = 0; i < 200; i++) own[i] = i + 1;
    const cut = (all: Words) =>
      Array.from({ length: 20 }, (_, i) => all.subarray(10 * i, 10 * i + 10));
    expect([...(await held.submitMany("echo", cut(own), cut(room)))]).toEqual(
      new Array(20).fill(40),
    );
    expect([...room]).toEqual([...own]);
  });

  test("refuses what is no batch before a call is made", async () => {
    await using held = await lease();
    const { inputs, outputs } = buffers(held, 3);
    const foreign = new Uint32Array(2);
    const wrong: [unknown, unknown][] = [
      [inputs, outputs.slice(1)],
      [inputs[0], outputs[0]],
      [inputs, undefined],
      [[...inputs.slice(1), foreign], outputs],
      [inputs, [...outputs.slice(1), foreign]],
      [[1, 2, 3], outputs],
    ];
    for (const [into, out] of wrong)
      expect(() => held.submitMany("count", into as Words[], out as Words[])).toThrow(UsageError);
    expect(() => held.submitMany("none" as "count", inputs, outputs)).toThrow(NoSuchFunction);
    for (const options of [{ worker: 7 }, { deadlineMs: -1 }, { timings: true }])
      expect(() => held.submitMany("count", inputs, outputs, options)).toThrow(UsageError);
    const named = () => held.submitMany("count", inputs, [...outputs.slice(1), foreign]);
    expect(named).toThrow(/^output 2 is not in/);
    held.free(inputs[1]!);
    expect(() => held.submitMany("count", inputs, outputs)).toThrow(UsageError);
    for (const worker of [0, 1]) {
      await held.submit("count", inputs[0]!, outputs[0]!, { worker });
      expect(outputs[0]![0]).toBe(1);
    }
  });

  test("asks buffers anew that were freed, or moved to other functions, between two batches of the same arrays", async () => {
    await using held = await lease({ workers: 1 });
    const { inputs, outputs } = buffers(held, 10);
    await held.submitMany("echo", inputs, outputs);
    inputs[3] = held.input(Uint32Array, 2).fill(99);
    await held.submitMany("echo", inputs, outputs);
    expect(outputs[3]![0]).toBe(99);
    expect([...(await held.submitMany("whoAmI", inputs, outputs))]).toEqual(new Array(10).fill(8));
    expect(outputs[3]![0]).toBe(0);
    inputs[4]!.buffer.transfer(0);
    expect(() => held.submitMany("echo", inputs, outputs)).toThrow(UsageError);
  });

  test("goes to the parts of a lease where its buffers lie, and has all results in their places", async () => {
    using scratch = new Scratch();
    const names = ["a", "b"];
    const nodes = await Promise.all(
      names.map((name) => ServedNode.start(scratch.join(`${name}.sock`), ["--cores", "1"])),
    );
    const list = names.map((name) => ({
      name,
      address: nodeAddress(scratch.join(`${name}.sock`)),
    }));
    const cluster = await invoker({
      nodes: scratch.file("nodes.json", JSON.stringify({ nodes: list })),
    });
    try {
      await using held = await cluster.allocate<Good>(GOOD, { workers: 2, memory: "1MiB" });
      const at = (i: number) => ({ worker: i % 2 });
      const inputs = Array.from({ length: 50 }, (_, i) =>
        held.input(Uint32Array, 2, at(i)).fill(i),
      );
      const outputs = inputs.map((_, i) => held.output(Uint32Array, 2, at(i)));
      expect([...(await held.submitMany("echo", inputs, outputs))]).toEqual(new Array(50).fill(8));
      expect([...held.submitMany("echo", inputs, outputs).get()]).toEqual(new Array(50).fill(8));
      expect(outputs.map(([word]) => word)).toEqual([...inputs.keys()]);
      let called = 0;
      for (let reads = 0; reads < 8; reads++) {
        let left = reads;
        const options = {
          get settled() {
            if (left-- === 0) throw new Error("not now");
            return true;
          },
        };
        try {
          await held.submitMany("count", inputs, outputs, options);
          called += inputs.length;
        } catch (error) {
          expect(error).toMatchObject({ message: "not now" });
        }
      }
      for (const worker of [0, 1])
        await held.submit("count", inputs[worker]!, outputs[worker]!, { worker });
      // A batch that throws has made no call.
      expect(outputs[0]![0]! + outputs[1]![0]!).toBe(called + 2);
      outputs[7] = held.output(Uint32Array, 1, at(7));
      expect(await rejection(held.submitMany("echo", inputs, outputs))).toMatchObject({ index: 7 });
      const named = (place: number, input?: Words, output?: Words) => () =>
        held.submitMany(
          "echo",
          inputs.with(place, input!),
          output ? outputs.with(place, output) : outputs,
        );
      outputs[7] = held.output(Uint32Array, 2, at(7));
      const elsewhere = held.output(Uint32Array, 2, at(8));
      expect(named(7, inputs[7], elsewhere)).toThrow(/^input 7 lies with .* and output 7 with/);
      expect(named(8, inputs[8], new Uint32Array(2))).toThrow(/^output 8 is not in/);
      expect(named(9, new Uint32Array(2))).toThrow(/^input 9 is not in/);
      expect(named(10)).toThrow(/^input 10 must be a typed array/);
    } finally {
      await cluster.close();
      await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
    }
  });
});
