/** The public API against a private node: real processes, real shared memory. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import {
  DeadlineExceeded,
  type Invoker,
  type Lease,
  LeaseLost,
  NoSuchFunction,
  OutOfLeaseMemory,
  QueueFull,
  UsageError,
  invoker,
} from "../support/library.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { alive } from "../support/processes.ts";
import { until } from "../support/until.ts";

type Good = typeof import("../functions/good.ts");
const GOOD = join(FUNCTIONS, "good.ts");

let rf: Invoker;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 4 });
});
afterAll(async () => await rf.close());

const lease = (options: Parameters<Invoker["allocate"]>[1] = {}) =>
  rf.allocate<Good>(GOOD, { memory: "1MiB", ...options });

function buffers(of: Lease<Good>, words = 2): [Uint32Array<ArrayBuffer>, Uint32Array<ArrayBuffer>] {
  return [of.input(Uint32Array, words), of.output(Uint32Array, words)];
}

for (const polling of ["hot", "warm", "adaptive"] as const) {
  describe(`a ${polling} lease`, () => {
    test("answers synchronous calls with the bytes written", async () => {
      await using held = await lease({ polling });
      const [input, output] = buffers(held);
      for (let i = 0; i < 2000; i++) {
        input.set([i, ~i]);
        expect(held.invoke("echo", input, output)).toBe(8);
        if (output[0] !== i || output[1] !== ~i >>> 0)
          throw new Error(`call ${i} echoed ${output}`);
      }
      expect(held.polling).toBe(polling);
    });

    test("answers awaited calls, one after another and many at once", async () => {
      await using held = await lease({ polling });
      const [input, output] = buffers(held);
      for (let i = 0; i < 300; i++) {
        input[0] = i;
        expect(await held.submit("echo", input, output)).toBe(8);
        expect(output[0]).toBe(i);
      }
      const pairs = Array.from({ length: 500 }, (_, i) => {
        const pair = buffers(held);
        pair[0][0] = i;
        return pair;
      });
      const written = await Promise.all(pairs.map(([a, b]) => held.submit("echo", a, b)));
      expect(written).toEqual(new Array(500).fill(8));
      expect(pairs.map(([, b]) => b[0])).toEqual(Array.from({ length: 500 }, (_, i) => i));
    });

    test("runs asynchronous functions without blocking the other slots of the worker", async () => {
      await using held = await lease({ polling });
      const [input, output] = buffers(held);
      const [slowInput, slowOutput] = buffers(held);
      slowInput[0] = 300;
      const slow = held.submit("later", slowInput, slowOutput);
      const stuck = held.submit("pending", slowInput, slowOutput);
      for (let i = 0; i < 500; i++) {
        input[0] = i;
        held.invoke("echo", input, output);
        if (output[0] !== i) throw new Error(`call ${i} echoed ${output[0]}`);
      }
      expect(stuck.done).toBe(false);
      expect(await held.submit("soon", input, output)).toBe(8);
      expect(await slow).toBe(8);
      expect(slowOutput[0]).toBe(300);
      expect(stuck.done).toBe(false);
    });

    test("synchronous calls between awaited ones lose no wake-up", async () => {
      await using held = await lease({ polling });
      const [input, output] = buffers(held);
      const [delay, delayed] = buffers(held);
      delay[0] = 5;
      for (let i = 0; i < 20; i++) {
        const slow = held.submit("later", delay, delayed);
        const awaited = slow.then(() => i);
        await Bun.sleep(i % 4);
        held.invoke("echo", input, output);
        expect(await awaited).toBe(i);
      }
    });
  });
}

describe("a call", () => {
  test("can be waited for with get, more than once, and tells when it is done", async () => {
    await using held = await lease({ polling: "hot" });
    const [input, output] = buffers(held);
    const call = held.submit("echo", input, output);
    expect(call.get()).toBe(8);
    expect(call.done).toBe(true);
    expect(call.get()).toBe(8);
    expect(await call).toBe(8);
  });

  test("waits for a slot when the ring is full; nothing is overwritten, and order is kept", async () => {
    await using held = await lease({ polling: "hot", slots: 4 });
    const pairs = Array.from({ length: 64 }, () => buffers(held, 20));
    const calls = pairs.map(([input, output], i) => held.submit("echo", input.fill(i), output));
    expect(calls.at(-1)!.get()).toBe(80);
    expect(calls.every((call) => call.done || call.get() === 80)).toBe(true);
    for (const [i, [, output]] of pairs.entries())
      expect(output).toEqual(new Uint32Array(20).fill(i));
  });

  test("is refused by trySubmit when the ring is full", async () => {
    await using held = await lease({ polling: "hot", slots: 2 });
    const [input, output] = buffers(held);
    input[0] = 1000;
    const calls = [held.trySubmit("later", input, output), held.trySubmit("later", input, output)];
    expect(calls.every((call) => call !== null)).toBe(true);
    expect(held.trySubmit("echo", input, output)).toBeNull();
  });

  test("beyond the queue's bound is refused with QueueFull", async () => {
    await using held = await lease({ polling: "hot", slots: 1 });
    const [input, output] = buffers(held);
    const submit = () => held.submit("pending", input, output).catch(() => {});
    expect(() => {
      for (let i = 0; i < 70_000; i++) void submit();
    }).toThrow(QueueFull);
  });

  test("says where its time went when asked, and not otherwise", async () => {
    await using held = await lease({ polling: "hot" });
    const [input, output] = buffers(held);
    input[0] = 5;
    const startedNs = Bun.nanoseconds();
    const call = held.submit("busy", input, output, { timings: true });
    expect(call.get()).toBe(0);
    const tookNs = Bun.nanoseconds() - startedNs;
    const timings = call.timings!;
    expect(timings.ranNs).toBeGreaterThan(4e6);
    const parts = ["queuedNs", "movedNs", "foundNs", "ranNs", "returnedNs"] as const;
    for (const part of parts) expect(timings[part]).toBeGreaterThanOrEqual(0);
    // Two clocks, each with a rate of its own.
    expect(parts.reduce((sum, part) => sum + timings[part], 0)).toBeLessThan(1.05 * tookNs);
    expect(held.submit("echo", input, output).timings).toBeUndefined();
  });

  test("ends at its deadline, awaited or not, and its worker goes on", async () => {
    await using held = await lease({ polling: "hot" });
    const [input, output] = buffers(held);
    const late = { deadlineMs: 20 };
    expect(() => held.submit("pending", input, output, late).get()).toThrow(DeadlineExceeded);
    expect(() => held.invoke("pending", input, output, late)).toThrow(DeadlineExceeded);
    await expect(
      held.submit("pending", input, output, late).catch((error) => Promise.reject(error)),
    ).rejects.toThrow(DeadlineExceeded);
    expect(held.invoke("echo", input, output, { deadlineMs: 10_000 })).toBe(8);
  });

  test("that was answered but not taken does not stop those behind it", async () => {
    await using held = await lease({ polling: "hot", slots: 2 });
    const [input, output] = buffers(held);
    const untaken = held.submit("echo", input, output);
    for (let i = 0; i < 10; i++) expect(held.submit("echo", input, output).get()).toBe(8);
    expect(untaken.get()).toBe(8);
  });

  test("that waits behind abandoned ones is posted when their answers come", async () => {
    await using held = await lease({ polling: "warm", slots: 1 });
    const [input, output] = buffers(held);
    input[0] = 100;
    const abandoned = held.submit("later", input, output, { deadlineMs: 20 });
    const behind = held.submit("echo", input, output);
    await expect(abandoned.then()).rejects.toThrow(DeadlineExceeded);
    expect(await behind).toBe(8);
  });

  test("keeps its deadline while another one is waited for on the spot", async () => {
    await using held = await lease({ polling: "hot" });
    const [input, output] = buffers(held);
    input[0] = 300;
    const pending = held.submit("pending", input, output, { deadlineMs: 50 });
    expect(held.submit("later", input, output).get()).toBe(8);
    expect(pending.done).toBe(true);
    expect(() => pending.get()).toThrow(DeadlineExceeded);
  });

  test("has the rest of its deadline when it is posted, not all of it again", async () => {
    await using held = await lease({ polling: "hot", slots: 1 });
    const [input, output] = buffers(held);
    const [delay, delayed] = buffers(held);
    delay[0] = 150;
    const first = held.submit("busy", delay, delayed);
    const second = held.submit("count", input, output, { deadlineMs: 100 });
    await expect(second.then()).rejects.toThrow(DeadlineExceeded);
    await first;
    // Were it posted with a deadline of its own, it would have run by now.
    await held.submit("count", input, output);
    expect(output[0]).toBe(1);
  });

  test("takes a deadline of weeks, and none beyond", async () => {
    await using held = await lease({ polling: "hot" });
    const [input, output] = buffers(held);
    const weeks = { deadlineMs: 2 ** 31 - 1 };
    expect(held.invoke("echo", input, output, weeks)).toBe(8);
    expect(await held.submit("soon", input, output, weeks)).toBe(8);
    expect(() => held.submit("echo", input, output, { deadlineMs: 2 ** 31 })).toThrow(UsageError);
    expect(() => held.invoke("echo", input, output, { deadlineMs: 0 })).toThrow(UsageError);
  });

  test("finds slots again whose promises never settled, once their deadlines have passed", async () => {
    await using held = await lease({ polling: "warm", slots: 2 });
    const [input, output] = buffers(held);
    const stuck = [0, 1].map(() => held.submit("pending", input, output, { deadlineMs: 20 }));
    for (const call of stuck) await expect(call.then()).rejects.toThrow(DeadlineExceeded);
    expect(await held.submit("echo", input, output)).toBe(8);
  });

  test("is taken by trySubmit again once earlier ones are answered, though nobody looked at them", async () => {
    await using held = await lease({ polling: "hot", slots: 2 });
    const [input, output] = buffers(held);
    for (let i = 0; i < 2; i++) expect(held.trySubmit("echo", input, output)).not.toBeNull();
    await until(() => held.trySubmit("echo", input, output) !== null, "a slot is free");
  });

  test("stops being waited for when its signal aborts", async () => {
    await using held = await lease({ polling: "hot", slots: 1 });
    const [input, output] = buffers(held);
    const controller = new AbortController();
    const flying = held.submit("pending", input, output, { signal: controller.signal });
    const queued = held.submit("echo", input, output, { signal: controller.signal });
    controller.abort(new Error("changed my mind"));
    await expect(flying.then()).rejects.toThrow("changed my mind");
    await expect(queued.then()).rejects.toThrow("changed my mind");
    await expect(
      held.submit("echo", input, output, { signal: AbortSignal.abort() }).then(),
    ).rejects.toThrow("abort");
  });
});

describe("several workers", () => {
  test("share the calls, know who they are, and can be chosen", async () => {
    await using held = await lease({ workers: 3, polling: "warm" });
    const seen = new Set<number>();
    const outputs = Array.from({ length: 30 }, () => held.output(Uint32Array, 2));
    const input = held.input(Uint8Array, 0);
    await Promise.all(outputs.map((output) => held.submit("whoAmI", input, output)));
    for (const output of outputs) {
      seen.add(output[0]!);
      expect(output[1]).toBe(3);
    }
    expect([...seen].sort()).toEqual([0, 1, 2]);
    await held.submit("whoAmI", input, outputs[0]!, { worker: 2 });
    expect(outputs[0]![0]).toBe(2);
    expect(() => held.submit("whoAmI", input, outputs[0]!, { worker: 3 })).toThrow(UsageError);
  });

  test("can be as many as a lease may have, and no more", async () => {
    await using many = await invoker({ cores: 200, prewarm: 0 });
    await using held = await many.allocate<Good>(GOOD, { workers: 120, slots: 2, polling: "warm" });
    const input = held.input(Uint8Array, 0);
    const output = held.output(Uint32Array, 2);
    expect(await held.submit("whoAmI", input, output, { worker: 119 })).toBe(8);
    expect([...output]).toEqual([119, 120]);
    await expect(many.allocate(GOOD, { workers: 121 })).rejects.toThrow(UsageError);
  });

  test("map spreads chunks over the workers and keeps their order", async () => {
    await using held = await lease({ workers: 2, polling: "adaptive" });
    const chunks = Array.from({ length: 1000 }, (_, i) => {
      const [input, output] = buffers(held, 16 + (i % 3));
      input.fill(i);
      return [input, output] as const;
    });
    const written = (await Array.fromAsync(held.map("echo", chunks))).map(({ bytes }) => bytes);
    expect(written).toEqual(chunks.map(([input]) => input.byteLength));
    for (const [input, output] of chunks) expect(output).toEqual(input);
  });

  test("map rejects with the first failure", async () => {
    await using held = await lease({ workers: 2 });
    const [input, output] = buffers(held, 4);
    const small = held.output(Uint8Array, 1);
    await expect(
      Array.fromAsync(
        held.map("echo", [
          [input, output],
          [input, small],
          [input, output],
        ]),
      ),
    ).rejects.toMatchObject({ index: 1 });
  });
});

describe("a lease's memory", () => {
  test("starts buffers at multiples of 64, gives freed ones out again, and says when it is full", async () => {
    await using held = await lease({ memory: 4096 });
    const all = [
      held.input(Float64Array, 3),
      held.output(Uint8Array, 100),
      held.input(BigInt64Array, 0),
    ];
    for (const view of all) expect(view.byteOffset % 64).toBe(0);
    expect(() => held.input(Uint8Array, 4096)).toThrow(OutOfLeaseMemory);
    for (const view of all) held.free(view);
    expect(held.freeBytes).toBe(4096);
    expect(held.input(Uint8Array, 4096).length).toBe(4096);
    expect(() => held.free(all[1]!)).toThrow();
  });

  test("is the only memory that calls take", async () => {
    await using held = await lease();
    const [input, output] = buffers(held);
    expect(() => held.invoke("echo", new Uint8Array(8), output)).toThrow(UsageError);
    expect(() => held.submit("echo", input, new Uint8Array(8))).toThrow(
      "lease.input or lease.output",
    );
  });

  test("takes views of any type and place", async () => {
    await using held = await lease();
    const input = held.input(Uint8Array, 300).map((_, i) => i);
    const source = held.input(Uint8Array, 300);
    source.set(input);
    const output = held.output(Uint8Array, 300);
    expect(held.invoke("echo", source.subarray(7, 207), output.subarray(3))).toBe(200);
    expect(output.slice(3, 203)).toEqual(input.slice(7, 207));
    const view = new DataView(source.buffer, source.byteOffset + 1, 9);
    expect(held.invoke("echo", view, output)).toBe(9);
    expect(output.slice(0, 9)).toEqual(input.slice(1, 10));
  });

  test("is empty after the release, and calls are refused", async () => {
    const held = await lease();
    const [input, output] = buffers(held);
    held.invoke("echo", input, output);
    const flying = held.submit("pending", input, output);
    const ended = flying.then().catch((error) => error);
    await held.release();
    await held.release();
    expect(input.length).toBe(0);
    expect(await ended).toBeInstanceOf(LeaseLost);
    expect(() => held.invoke("echo", input, output)).toThrow("released");
    expect(() => held.submit("echo", input, output)).toThrow("released");
    expect(() => held.input(Uint8Array, 1)).toThrow("released");
  });
});

describe("a function's name", () => {
  test("that is not exported, or is no function, is explained", async () => {
    await using held = await rf.allocate(GOOD);
    const view = held.input(Uint8Array, 8);
    expect(() => held.invoke("nope", view, view)).toThrow(NoSuchFunction);
    expect(() => held.invoke("nope", view, view)).toThrow("it has: busy, count, echo");
    expect(() => held.invoke("answer", view, view)).toThrow(
      "it is a number, which cannot be called",
    );
    expect(() => held.submit("toString", view, view)).toThrow(NoSuchFunction);
  });
});

describe("a worker", () => {
  test("keeps its module's state between calls and lets its timers run", async () => {
    for (const polling of ["hot", "warm"] as const) {
      await using held = await lease({ polling });
      const [input, output] = buffers(held);
      for (let i = 1; i <= 3; i++) {
        held.invoke("count", input, output);
        expect(output[0]).toBe(i);
      }
      await until(() => {
        held.invoke("timerTicks", input, output);
        return output[0]! > 3;
      }, "the module's timer runs between calls");
    }
  });

  test("can gain no privileges", async () => {
    await using held = await lease({ workers: 2 });
    const folder = `/proc/${held.hostPid}/task`;
    const tasks = await Promise.all(
      // Threads of the pool that this lease does not need are ending meanwhile.
      readdirSync(folder).map((thread) =>
        Bun.file(`${folder}/${thread}/status`)
          .text()
          .catch(() => ""),
      ),
    );
    const workers = tasks.filter((status) => status.includes("Name:\trfaas-worker"));
    expect(workers.length).toBeGreaterThanOrEqual(2);
    for (const status of workers) expect(status).toContain("NoNewPrivs:\t1");
  });

  test("is gone, with its process, when the lease is released", async () => {
    const held = await lease();
    const { hostPid } = held;
    expect(alive(hostPid)).toBe(true);
    await held.release();
    expect(alive(hostPid)).toBe(false);
  });
});

describe("a node", () => {
  test("gives every core and byte back, however many leases come and go", async () => {
    const before = await rf.status();
    for (let i = 0; i < 10; i++) await (await lease({ workers: 1 + (i % 4) })).release();
    const after = await rf.status();
    expect(after.freeCores).toBe(before.freeCores);
    expect(after.freeMemoryBytes).toBe(before.freeMemoryBytes);
    expect(after.leases).toBe(0);
  });

  test("refuses what it does not have, and says what it has", async () => {
    await expect(lease({ workers: 5 })).rejects.toThrow("the node has 4 cores");
    await using _held = await lease({ workers: 3 });
    await expect(lease({ workers: 2 })).rejects.toThrow("1 of 4 cores are free");
  });

  test("refuses options that make no sense, before anything is started", async () => {
    await expect(lease({ workers: 0 })).rejects.toThrow(UsageError);
    await expect(lease({ slots: 3 })).rejects.toThrow("power of two");
    await expect(lease({ memory: "lots" })).rejects.toThrow("512MiB");
    await expect(lease({ memory: "5GiB" })).rejects.toThrow("at most 4 GiB");
    // As plain JavaScript may call it.
    await expect(lease({ polling: "tepid" as "hot" })).rejects.toThrow("hot, warm or adaptive");
  });
});
