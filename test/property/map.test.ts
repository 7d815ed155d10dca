/** What holds for every map, whatever is asked for: of a real lease, since its workers decide what ends when. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";
import { type Invoker, type Lease, invoker } from "../../src/index.ts";
import type { PartLease } from "../../src/client/lease/part.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";

type Good = typeof import("../functions/good.ts");

let rf: Invoker;
let lease: Lease<Good>;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 2 });
  lease = await rf.allocate<Good>(join(FUNCTIONS, "good.ts"), {
    workers: 2,
    memory: "1MiB",
    slots: 8,
    polling: "warm",
  });
});
afterAll(() => rf?.close());

/** Calls in flight and waiting, by worker. */
const loads = (): number[] => (lease as PartLease<Good>).core.lanes.map(({ load }) => load);

/** Four inputs may be taken for each call that may be in flight. */
const AHEAD = 4;

const scenario = fc.record({
  count: fc.integer({ min: 0, max: 120 }),
  concurrency: fc.integer({ min: 1, max: 20 }),
  ordered: fc.boolean(),
  asynchronous: fc.boolean(),
  /** Milliseconds that a call takes, in turn. */
  delays: fc.array(fc.constantFrom(0, 0, 0, 1, 3), { minLength: 1, maxLength: 7 }),
  /** How many results the reader takes; more than there are: all. */
  wanted: fc.integer({ min: 0, max: 150 }),
  /** The reader is slow. */
  pauses: fc.boolean(),
});

test("takes as many inputs as there is room for, yields each once, in order if it is to, and leaves nothing behind", async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async ({ count, concurrency, ordered, delays, wanted, ...how }) => {
      const freeBytes = lease.freeBytes;
      let taken = 0;
      let ended = false;
      function* inputs(): Generator<Uint32Array<ArrayBuffer>> {
        try {
          while (taken < count) yield new Uint32Array([delays[taken % delays.length]!, taken++]);
        } finally {
          ended = true;
        }
      }
      async function* later(): AsyncGenerator<Uint32Array<ArrayBuffer>> {
        yield* inputs();
      }
      const source = how.asynchronous ? later() : inputs();
      const inFlight = Math.min(concurrency, 16);
      const seen: number[] = [];
      for await (const result of lease.map("later", source, { concurrency, ordered })) {
        const { index, input, output } = result;
        expect(new Uint32Array(output.buffer, output.byteOffset, 2)).toEqual(input);
        expect(input[1]).toBe(index);
        seen.push(index);
        expect(taken).toBeLessThanOrEqual(seen.length + AHEAD * inFlight);
        expect(loads().reduce((sum, load) => sum + load)).toBeLessThanOrEqual(inFlight);
        if (seen.length >= wanted) break;
        if (how.pauses && index % 16 === 0) await Bun.sleep(1);
      }
      const yielded = Math.min(count, Math.max(1, wanted));
      const sorted = seen.toSorted((a, b) => a - b);
      expect(new Set(seen).size).toBe(yielded);
      if (ordered) expect(seen).toEqual(sorted);
      if (yielded === count) expect(sorted).toEqual(Array.from({ length: count }, (_, i) => i));
      // The reader has broken off, or has got all of them.
      expect(ended).toBe(true);
      expect(lease.freeBytes).toBe(freeBytes);
      expect(loads()).toEqual([0, 0]);
    }),
    { numRuns: 60 },
  );
}, 120_000);
