/** A call's memory: no other call gets it while the function can still write it, and nothing else can be reached through it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import {
  DeadlineExceeded,
  type Invoker,
  type Lease,
  WorkerLost,
  invoker,
} from "../../src/index.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";

type Functions = typeof import("../functions/late.ts");

const LATE = join(FUNCTIONS, "late.ts");

let rf: Invoker;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 4 });
});
afterAll(async () => await rf.close());

const lateLease = (options: Parameters<Invoker["allocate"]>[1] = {}) =>
  rf.allocate<Functions>(LATE, { memory: "4MiB", polling: "warm", ...options });

const orderOf = (lease: Lease<Functions>, ms: number, id: number, early = 0) => {
  const input = lease.input(Float64Array, 3);
  input.set([ms, id, early]);
  return input;
};

const codeOf = (call: PromiseLike<unknown>): Promise<string> =>
  Promise.resolve(call).then(
    () => "no error",
    (error) => error.code,
  );
const EXCEEDED = new DeadlineExceeded(1).code;

describe("an asynchronous call whose deadline has passed", () => {
  test("keeps its only slot until it has ended: the next call waits, and gets its own result", async () => {
    await using lease = await lateLease({ slots: 1 });
    for (const length of [1, 100]) {
      const [mine, next] = [lease.output(Float64Array, length), lease.output(Float64Array, length)];
      const given = lease.submit("slow", orderOf(lease, 200, 111), mine, { deadlineMs: 30 });
      expect(await codeOf(given)).toBe(EXCEEDED);
      expect(await lease.submit("slow", orderOf(lease, 250, 222, 1), next)).toBe(8);
      expect(next[0]).toBe(222);
    }
  });

  test("keeps its memory, on structs: none of a full ring of later calls sees what it writes", async () => {
    await using lease = await lateLease();
    const slow = lease.function<Functions>("slowStruct");
    await slow({ ms: 1, id: 1, early: 0 });
    const given = slow({ ms: 200, id: 111, early: 0 }, { deadlineMs: 30 });
    expect(await codeOf(given)).toBe(EXCEEDED);
    const ids = Array.from({ length: 64 }, (_, i) => 1000 + i);
    const results = await Promise.all(
      ids.map(async (id) => (await slow({ ms: 250, id, early: 1 })).id),
    );
    expect(results).toEqual(ids);
  });

  test("keeps its memory, on values: thousands of calls among sixty late ones get their own results", async () => {
    await using lease = await lateLease();
    const slow = lease.function<Functions>("slowValue");
    const name = (kind: string, i: number) => kind + String(i).padStart(59, "0");
    const given = await Promise.all(
      Array.from({ length: 60 }, (_, i) =>
        codeOf(slow({ ms: 100 + 10 * i, id: name("late", i) }, { deadlineMs: 50 })),
      ),
    );
    expect(new Set(given)).toEqual(new Set([EXCEEDED]));
    let calls = 0;
    const wrong: unknown[] = [];
    await Promise.all(
      Array.from({ length: 60 }, async () => {
        while (calls < 6000) {
          const id = name("call", calls++);
          const result = await slow({ ms: 0, id });
          if (result !== id) wrong.push([id, result]);
        }
      }),
    );
    expect(wrong).toEqual([]);
  }, 30_000);

  test("that never ends has its worker replaced, and later calls run", async () => {
    await using lease = await lateLease({ slots: 1 });
    const output = lease.output(Float64Array, 1);
    for (const name of ["slow", "spinsLater"] as const) {
      const given = lease.submit(name, orderOf(lease, 1e9, 1), output, { deadlineMs: 30 });
      expect(await codeOf(given)).toBe(EXCEEDED);
      expect(await lease.submit("slow", orderOf(lease, 0, 7), output)).toBe(8);
      expect(output[0]).toBe(7);
    }
  }, 30_000);

  test("that never ends takes others of its worker along, which hear why", async () => {
    await using lease = await lateLease();
    const output = lease.output(Float64Array, 1);
    const other = lease.submit("slow", orderOf(lease, 1e9, 2), output);
    const given = lease.submit("slow", orderOf(lease, 1e9, 1), output, { deadlineMs: 30 });
    expect(await codeOf(given)).toBe(EXCEEDED);
    const error = await other.then(
      () => null,
      (lost: unknown) => lost,
    );
    expect(error).toBeInstanceOf(WorkerLost);
    expect((error as Error).message).toContain("a call did not end by its deadline");
  }, 30_000);
});

describe("what an asynchronous function leaves behind", () => {
  test("when its deadline ends it, writes nothing to the memory of later calls", async () => {
    await using lease = await lateLease({ slots: 1 });
    const output = lease.output(Float64Array, 1);
    const input = orderOf(lease, 100, 111);
    const given = lease.submit("leavesWorkBehind", input, output, { deadlineMs: 30 });
    expect(await codeOf(given)).not.toBe("no error");
    // The same slot, and the same memory.
    input.set([250, 222, 1]);
    expect(await lease.submit("slow", input, output)).toBe(8);
    expect(output[0]).toBe(222);
  });

  test("after its result, writes nothing to the memory of later calls", async () => {
    await using lease = await lateLease({ slots: 1 });
    for (const bytes of [24, 48, 4096]) {
      const input = lease.input(Uint8Array, bytes).fill(5);
      const output = lease.output(Uint8Array, bytes);
      expect(await lease.submit("writesOn", input, output)).toBe(bytes);
      expect(output).toEqual(new Uint8Array(bytes).fill(1));
      new Float64Array(input.buffer, input.byteOffset, 3).set([100, 222, 1]);
      const before = input.slice();
      expect(await lease.submit("slow", input, output)).toBe(8);
      expect(new Float64Array(output.buffer, output.byteOffset, 1)[0]).toBe(222);
      expect(input).toEqual(before);
    }
  });
});

describe("what a function is handed", () => {
  test("reaches to the ends of its payload and no further, inline or in place", async () => {
    await using lease = await lateLease();
    for (const [from, to] of [
      [8, 8],
      [32, 48],
      [33, 49],
      [64, 64],
      [1000, 4096],
      [1 << 20, 1 << 20],
    ] as const) {
      const input = lease.input(Uint8Array, from);
      const output = lease.output(Uint8Array, to);
      expect(lease.invoke("reach", input, output)).toBe(8);
      expect([...new Uint32Array(output.buffer, output.byteOffset, 2)]).toEqual([from, to]);
      lease.free(input);
      lease.free(output);
    }
  });

  test("may be written to its ends through the buffer: the call ends, and neighbours are untouched", async () => {
    await using lease = await lateLease();
    for (const bytes of [8, 40, 4096]) {
      const [before, input, output, after] = Array.from({ length: 4 }, () =>
        lease.input(Uint8Array, bytes).fill(1),
      ) as [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>, Uint8Array];
      expect(await lease.submit("careless", input, output, { deadlineMs: 10_000 })).toBe(bytes);
      expect(output).toEqual(new Uint8Array(bytes).fill(7));
      expect([before, after]).toEqual([
        new Uint8Array(bytes).fill(1),
        new Uint8Array(bytes).fill(1),
      ]);
      expect(lease.invoke("echo", before, output)).toBe(bytes);
      expect(output).toEqual(before);
    }
  });

  test("may be detached by it: that call ends, and later ones have their memory", async () => {
    await using lease = await lateLease();
    for (const bytes of [8, 40, 4096]) {
      const input = lease.input(Uint8Array, bytes).fill(3);
      const output = lease.output(Uint8Array, bytes);
      for (let round = 0; round < 3; round++) {
        expect(await lease.submit("detaches", input, output, { deadlineMs: 10_000 })).toBe(8);
        output.fill(0);
        expect(lease.invoke("echo", input, output)).toBe(bytes);
        expect(output).toEqual(input);
      }
    }
  });

  test("is empty once the call has ended, also where it is part of a value: what was kept is never another call's", async () => {
    await using lease = await lateLease();
    const keeps = lease.function<Functions>("keeps");
    for (const length of [4, 1000]) {
      const numbers = (value: number) => new Float32Array(length).fill(value);
      expect(await keeps(numbers(1))).toBe(-1);
      expect(await codeOf(keeps(numbers(2)))).toBe("RFAAS_FUNCTION_ERROR");
    }
  });
});
