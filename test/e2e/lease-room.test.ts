/** Calls of any number and size on a lease with little memory: whoever finds no room waits, and what a call leaves comes back. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type Invoker, type Lease, invoker } from "../support/library.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { until } from "../support/until.ts";

type Functions = typeof import("../functions/late.ts");

let rf: Invoker;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 4 });
});
afterAll(async () => await rf.close());

const lease = (memory: string, workers = 1): Promise<Lease<Functions>> =>
  rf.allocate<Functions>(join(FUNCTIONS, "late.ts"), { memory, workers });

const padded = (id: number, length: number): string => String(id).padEnd(length, ".");

describe("calls that find no room for their values wait for others", () => {
  for (const [count, length, memory] of [
    [300, 5000, "1MiB"],
    [30, 600_000, "1MiB"],
    [2000, 10, "64KiB"],
  ] as const)
    test(`${count} at once of ${length} bytes, with ${memory} for them`, async () => {
      await using held = await lease(memory);
      const later = held.function("slowValue");
      for (let round = 0; round < 2; round++) {
        const ids = Array.from({ length: count }, (_, i) => padded(i, length));
        const got = await Promise.all(ids.map((id) => later({ ms: 0, id })));
        expect(got.every((id, i) => id === ids[i])).toBeTrue();
      }
      later[Symbol.dispose]();
      expect(held.freeBytes).toBe(2 ** 10 * (memory === "64KiB" ? 64 : 1024));
    }, 60_000);

  test("on structs, beside values of another function", async () => {
    await using held = await lease("64KiB");
    const [structs, values] = [held.function("slowStruct"), held.function("slowValue")];
    const ids = Array.from({ length: 1500 }, (_, id) => id);
    const order = { ms: 1, id: 0, early: 0 };
    const [numbers, texts] = await Promise.all([
      Promise.all(
        ids.map(async (id) => {
          // Its owner changes the value while its call waits.
          order.id = id;
          return (await structs(order)).id;
        }),
      ),
      Promise.all(ids.map((id) => values({ ms: 0, id: padded(id, 3000) }))),
    ]);
    expect(numbers).toEqual(ids);
    expect(texts).toEqual(ids.map((id) => padded(id, 3000)));
  }, 60_000);

  test("and take what handles keep to use again", async () => {
    await using held = await lease("1MiB");
    const handles = [held.function("slowValue"), held.function("slowValue")] as const;
    for (let i = 0; i < 3; i++)
      for (const later of handles) {
        const id = padded(i, 300_000);
        expect(await later({ ms: 0, id })).toBe(id);
      }
    held.free(held.output(Uint8Array, 1_000_000));
  }, 60_000);
});

describe("memory of abandoned calls comes back when their functions have ended", () => {
  const ORDERS = Array.from({ length: 20 }, (_, i) => new Float64Array([100, i, 0]));
  const freed = (name: string, run: (held: Lease<Functions>) => Promise<unknown>) =>
    test(
      name,
      async () => {
        await using held = await lease("1MiB", 2);
        const before = held.freeBytes;
        await run(held);
        await until(() => held.freeBytes === before, "all of the lease's memory is free");
      },
      60_000,
    );

  freed("of a broadcast whose deadline passed", async (held) => {
    const ends = await held.broadcast("slow", ORDERS[0]!, { deadlineMs: 20, outputBytes: 1000 });
    expect(ends.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  });

  freed("of a map whose calls' deadlines passed", async (held) => {
    const options = { deadlineMs: 20, settled: true, outputBytes: 1000 } as const;
    for await (const { status } of held.map("slow", ORDERS, options))
      expect(status).toBe("rejected");
  });

  freed("of a map that was aborted", async (held) => {
    const giveUp = new AbortController();
    const options = { signal: giveUp.signal, outputBytes: 1000 };
    const results = held.map("slow", ORDERS, options);
    setTimeout(() => giveUp.abort(new Error("enough")), 20);
    const reason = await results.next().catch((error) => error.message);
    expect(reason).toBe("enough");
    await results.return?.();
  });
});
