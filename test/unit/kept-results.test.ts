import { expect, test } from "bun:test";
import { DROP, KeptResults, type NamedCall } from "../../src/executor/results/kept-results.ts";
import type { FunctionContext } from "../../src/function/index.ts";

const MIB = 1024 * 1024;
const of = (slot: number, sequence: number): FunctionContext =>
  ({ call: { slot, sequence } satisfies NamedCall }) as unknown as FunctionContext;
const NOBODY = {} as FunctionContext;

function fetch(
  kept: KeptResults,
  ticket: number,
  at: number,
  room: number,
  ctx = NOBODY,
): number[] {
  const input = new Uint8Array(new Float64Array([ticket, at]).buffer);
  const output = new Uint8Array(room);
  return [...output.subarray(0, kept.fetch(input, output, ctx) as number)];
}

test("a result is handed out whole, or in pieces, and then forgotten", () => {
  const kept = new KeptResults();
  const bytes = new Uint8Array([1, 2, 3]);
  const first = kept.keep(bytes, NOBODY);
  const second = kept.keep(bytes, NOBODY);
  bytes.fill(0);
  expect([first.bytes, second.bytes]).toEqual([3, 3]);
  expect(fetch(kept, first.ticket, 0, 9)).toEqual([1, 2, 3]);
  expect(fetch(kept, second.ticket, 0, 2)).toEqual([1, 2]);
  expect(fetch(kept, second.ticket, 2, 2)).toEqual([3]);
  for (const { ticket } of [first, second])
    expect(() => fetch(kept, ticket, 0, 3)).toThrow("call again");
});

test("however many results come, none is forgotten before it was fetched", () => {
  const kept = new KeptResults();
  const all = Array.from({ length: 1000 }, (_, i) => kept.keep(new Uint8Array([i]), NOBODY));
  expect(all.map(({ ticket }) => fetch(kept, ticket, 0, 1)[0]!)).toEqual(
    all.map((_, i) => i & 255),
  );
});

test("of two threads, none takes the other's number for its own", () => {
  const [before, after] = [new KeptResults(), new KeptResults()];
  const { ticket } = before.keep(new Uint8Array([1]), NOBODY);
  for (let i = 0; i < 100; i++) after.keep(new Uint8Array([2]), NOBODY);
  expect(() => fetch(after, ticket, 0, 1)).toThrow("replaced");
});

test("who finds much kept waits until some was fetched, or dropped, in order", async () => {
  const kept = new KeptResults();
  const [first, second] = [0, 1].map((i) => kept.keep(new Uint8Array(20 * MIB), of(i, 7)));
  expect(kept.full).toBe(true);
  const went: number[] = [];
  const waiting = [1, 2].map((name) =>
    kept.whenRoom(NOBODY, () => {
      went.push(name);
      kept.keep(new Uint8Array(20 * MIB), NOBODY);
    }),
  );
  fetch(kept, first!.ticket, 0, 20 * MIB);
  await waiting[0];
  expect(went).toEqual([1]);
  fetch(kept, second!.ticket, DROP, 0);
  await waiting[1];
  expect(went).toEqual([1, 2]);
});

test("what nobody waits for is not kept, whenever its caller left", async () => {
  const kept = new KeptResults();
  const big = new Uint8Array(40 * MIB);
  // Before it began.
  kept.abandon(3, 10);
  kept.keep(big, of(3, 10));
  expect(kept.full).toBe(false);
  // After its end.
  kept.keep(big, of(3, 11));
  expect(kept.full).toBe(true);
  kept.abandon(4, 11);
  expect(kept.full).toBe(true);
  kept.abandon(3, 11);
  expect(kept.full).toBe(false);
  // While it was fetched, by a call that had been abandoned before, and by one that is abandoned now.
  for (const early of [true, false]) {
    const { ticket } = kept.keep(big, of(3, 12));
    fetch(kept, ticket, 0, 1, of(5, 20));
    if (early) kept.abandon(6, 21);
    fetch(kept, ticket, 1, 1, of(6, 21));
    kept.abandon(6, 21);
    expect(kept.full).toBe(false);
  }
  // While it waited for room.
  const { ticket } = kept.keep(big, of(1, 30));
  const waiting = kept.whenRoom(of(2, 31), () => 0);
  kept.abandon(2, 31);
  fetch(kept, ticket, DROP, 0);
  expect(await waiting.catch((error) => error.message)).toContain("aborted");
});
