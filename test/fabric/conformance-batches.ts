/** What every fabric must do with calls that are posted, and whose results are gathered, many at a time. */
import { afterEach, describe, expect, test } from "bun:test";
import { type ClientEndpoint, POSTING_WORDS } from "../../ffi/client-endpoint.ts";
import { STATUS } from "../../ffi/layout.ts";
import { IDLE } from "../../ffi/worker-endpoint.ts";
import type { Fabric, LocalPair, Shape } from "./conformance.ts";
import { payloads } from "./conformance-payloads.ts";
import { BRIEFLY, OUTPUT_AT, next, until } from "./conformance-steps.ts";

type Posting = readonly [fn: number, input: number, length: number, output: number, room: number];

const SLOTS = 8;
const INPUT_STRIDE = 128;

/** The i-th of the calls that differ in nothing but where their buffers lie. */
const postingAt = (i: number, bytes: number, fn = 0): Posting => [
  fn,
  i * INPUT_STRIDE,
  bytes,
  OUTPUT_AT + i * INPUT_STRIDE,
  bytes,
];

function tableOf(postings: readonly Posting[]): Uint32Array<ArrayBuffer> {
  const table = new Uint32Array(new ArrayBuffer(4 * POSTING_WORDS * postings.length));
  table.set(postings.flat());
  return table;
}

/** Slots and results that one sweep has found. */
function harvest(client: ClientEndpoint, from = 0, misses = SLOTS): [number, number][] {
  const found = client.harvest(from, misses);
  return Array.from({ length: found }, (_, i) => [client.found[2 * i]!, client.found[2 * i + 1]!]);
}

/** Looks until so many results were found, each of another slot. */
function harvestAll(client: ClientEndpoint, count: number, misses = SLOTS): Map<number, number> {
  const results = new Map<number, number>();
  until(() => {
    for (const [slot, result] of harvest(client, 0, misses)) {
      expect(results.has(slot)).toBe(false);
      results.set(slot, result);
    }
    return results.size >= count;
  }, false);
  expect(results.size).toBe(count);
  return results;
}

export function batches(fabric: Fabric): void {
  describe(`${fabric.name}: many calls at once`, () => {
    let pair: LocalPair | undefined;
    const open = async (over: Partial<Shape> = {}): Promise<LocalPair> =>
      (pair = await fabric.local({
        polling: "hot",
        slots: SLOTS,
        arenaBytes: 64 * 1024,
        ...over,
      }));
    afterEach(async () => {
      await pair?.[Symbol.asyncDispose]();
      pair = undefined;
    });
    /** Answers what it finds as an echo, in order. Returns the slots. */
    const echoMany = ({ worker, workerArena }: LocalPair, count: number): number[] => {
      const slots: number[] = [];
      for (let i = 0; i < count; i++) {
        const slot = next(worker);
        const [input, output] = payloads(worker, workerArena, slot);
        output.set(input);
        worker.answer(slot, STATUS.ok, input.length);
        slots.push(slot);
      }
      return slots;
    };

    for (const bytes of [0, 8, 32, 40, 64, 96])
      test(`a table of calls of ${bytes} B is posted in its order, and each result arrives at its place`, async () => {
        const { client, clientArena } = await open();
        const table = tableOf(Array.from({ length: 40 }, (_, i) => postingAt(i, bytes)));
        for (let i = 0; i < 40; i++)
          new Uint8Array(clientArena, i * INPUT_STRIDE, bytes).fill(i + 1);
        for (let first = 0; first < 40;) {
          const count = Math.min(40 - first, (first % SLOTS) + 1);
          expect(client.postMany(table, first, count, 0)).toBe(count);
          const slots = [...client.posted.subarray(0, count)];
          expect(new Set(slots).size).toBe(count);
          expect(echoMany(pair!, count)).toEqual(slots);
          const results = harvestAll(client, count);
          for (const slot of slots) expect(results.get(slot)).toBe(bytes);
          first += count;
        }
        for (let i = 0; i < 40; i++) {
          const output = new Uint8Array(clientArena, OUTPUT_AT + i * INPUT_STRIDE, INPUT_STRIDE);
          expect([...output]).toEqual([...output.keys()].map((at) => (at < bytes ? i + 1 : 0)));
        }
      });

    for (const slots of [1, 2, 4, SLOTS])
      test(`with ${slots} in flight, an input that is written anew once its answer is found is the next call's`, async () => {
        const { client, clientArena } = await open({ slots });
        const all = 10 * slots;
        const inFlight = new Map<number, number>();
        for (let posted = 0, answered = 0; answered < all; answered++) {
          for (; posted < all && inFlight.size < slots; posted++) {
            const call = postingAt(posted % slots, 64);
            new Uint8Array(clientArena, call[1], 64).fill(posted + 1);
            inFlight.set(client.post(...call, 0), posted);
          }
          echoMany(pair!, 1);
          for (const [slot, bytes] of harvestAll(client, 1)) {
            expect([bytes, inFlight.get(slot)]).toEqual([64, answered]);
            const [, , , at] = postingAt(answered % slots, 64);
            expect([...new Uint8Array(clientArena, at, 64)]).toEqual(
              new Array(64).fill(answered + 1),
            );
            inFlight.delete(slot);
          }
        }
      });

    test("a full ring ends the posting, which says so, and goes on from there once answers have come", async () => {
      const { client } = await open();
      const table = tableOf(Array.from({ length: 2 * SLOTS }, (_, i) => postingAt(i, 8)));
      const held = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
      expect(client.postMany(table, 0, SLOTS, 0)).toBe(SLOTS - 1);
      expect(client.posted[SLOTS - 1]).toBe(STATUS.ringFull);
      expect(client.postMany(table, SLOTS - 1, 1, 0)).toBe(0);
      expect(client.posted[0]).toBe(STATUS.ringFull);
      expect(echoMany(pair!, 3)[0]).toBe(held);
      expect(harvestAll(client, 3).get(held)).toBe(4);
      expect(client.postMany(table, SLOTS - 1, SLOTS, 0)).toBe(3);
      expect(client.posted[3]).toBe(STATUS.ringFull);
      echoMany(pair!, SLOTS);
      expect([...harvestAll(client, SLOTS).values()]).toEqual(new Array(SLOTS).fill(8));
      expect(harvest(client)).toEqual([]);
    });

    test("a call outside the arena ends the posting, and those before and behind it are made", async () => {
      const { client, clientArena } = await open();
      const size = clientArena.byteLength;
      const outside: Posting[] = [
        [0, size, 1, 0, 0],
        [0, 0, size + 1, 0, 0],
        [0, 0, 0, size - 1, 2],
        [0, 0xffffffff, 0xffffffff, 0, 0],
      ];
      for (const bad of outside) {
        const table = tableOf([postingAt(0, 8), postingAt(1, 8), bad, postingAt(2, 8)]);
        expect(client.postMany(table, 0, 4, 0)).toBe(2);
        expect(client.posted[2]).toBe(STATUS.badRequest);
        expect(client.postMany(table, 3, 1, 0)).toBe(1);
        expect(echoMany(pair!, 3).length).toBe(3);
        expect([...harvestAll(client, 3).values()]).toEqual([8, 8, 8]);
      }
      expect(pair!.worker.turn(-1, 0, BRIEFLY)).toBe(IDLE);
    });

    test("calls that the table has not, or more than there are slots, are refused", async () => {
      const { client } = await open();
      const table = tableOf([postingAt(0, 8), postingAt(1, 8)]);
      expect(() => client.postMany(table, 1, 2, 0)).toThrow(RangeError);
      expect(() => client.postMany(table, 0, SLOTS + 1, 0)).toThrow(RangeError);
      expect(client.postMany(table, 2, 0, 0)).toBe(0);
      expect(harvest(client)).toEqual([]);
    });

    test("errors, answers that are too long and statuses that no worker may send are told for their calls alone", async () => {
      const { client, worker } = await open();
      const table = tableOf([
        ...[postingAt(0, 40), postingAt(1, 40), postingAt(2, 40), postingAt(3, 40, 7)],
        ...[postingAt(4, 40), postingAt(5, 8)],
      ]);
      expect(client.postMany(table, 0, 6, 0)).toBe(6);
      const slots = [...client.posted.subarray(0, 6)];
      const answers = [
        [STATUS.ok, 41],
        [STATUS.functionError, 5],
        [-1000, 0],
        [STATUS.ok, 0xffffffff],
        [STATUS.ok, 8],
      ] as const;
      // The fourth names no function: the worker refuses it by itself.
      for (const [status, length] of answers) worker.answer(next(worker), status, length);
      const results = harvestAll(client, 6);
      expect(slots.map((slot) => results.get(slot))).toEqual([
        ...[STATUS.badResponse, STATUS.functionError, STATUS.badResponse, STATUS.badRequest],
        ...[STATUS.badResponse, 8],
      ]);
      expect(client.errorRecord(slots[1]!).length).toBe(5);
    });

    test("answers out of order are found, past the end of the ring too", async () => {
      const { client, worker } = await open();
      const table = tableOf(Array.from({ length: SLOTS }, (_, i) => postingAt(i, 8)));
      for (let round = 0; round < 50; round++) {
        const count = (round % (SLOTS - 2)) + 2;
        expect(client.postMany(table, 0, count, 0)).toBe(count);
        const slots = [...client.posted.subarray(0, count)];
        const found = slots.map(() => {
          const slot = next(worker);
          worker.defer(slot);
          return slot;
        });
        const order = round % 2 ? found.toReversed() : found;
        for (const slot of order.slice(1)) worker.answer(slot, STATUS.ok, 8);
        const results = harvestAll(client, count - 1, 2);
        expect(results.has(order[0]!)).toBe(false);
        worker.answer(order[0]!, STATUS.ok, 8);
        expect([...harvestAll(client, 1, 2)]).toEqual([[order[0]!, 8]]);
      }
    });

    test("a sweep begins where it is told, and ends after so many calls without an answer", async () => {
      const { client, worker } = await open();
      const table = tableOf(Array.from({ length: SLOTS }, (_, i) => postingAt(i, 8)));
      expect(client.postMany(table, 0, SLOTS, 0)).toBe(SLOTS);
      for (let i = 0; i < SLOTS; i++) worker.defer(next(worker));
      for (const slot of [0, 3, 6]) worker.answer(slot, STATUS.ok, slot);
      // Where messages overtake each other an answer that was sent may be met later: only what lies beyond is never met.
      for (let look = 0; look < 50; look++) {
        const slots = harvest(client, 3, 3).map(([slot]) => slot);
        expect(slots).not.toContain(0);
        for (const slot of slots) expect([3, 6]).toContain(slot);
      }
      expect(harvestAll(client, 1).get(0)).toBe(0);
      for (let slot = 0; slot < SLOTS; slot++)
        if (slot % 3 !== 0) worker.answer(slot, STATUS.ok, slot);
      const rest = harvestAll(client, 5, 1);
      for (const [slot, result] of rest) expect(result).toBe(slot);
    });

    test("an abandoned call is no result, and its slot comes back for the next table", async () => {
      const { client } = await open({ slots: 4 });
      const table = tableOf(Array.from({ length: 4 }, (_, i) => postingAt(i, 8)));
      expect(client.postMany(table, 0, 4, 0)).toBe(4);
      const [first, second] = client.posted as unknown as [number, number];
      client.abandon(first);
      expect(client.postMany(table, 0, 1, 0)).toBe(0);
      expect(echoMany(pair!, 4)).toContain(first);
      const results = harvestAll(client, 3);
      expect([results.has(first), results.get(second)]).toEqual([false, 8]);
      const posted = until(() => {
        const count = client.postMany(table, 0, 4, 0);
        for (const slot of echoMany(pair!, count)) until(() => client.test(slot), STATUS.pending);
        return count === 4;
      }, false);
      expect(posted).toBe(true);
    });

    for (const wrap of [2 ** 17, 2 ** 32])
      test(`tables are posted and answered where counts pass ${wrap}`, async () => {
        pair = await open();
        pair.beginAt(wrap - 20);
        const { client } = pair;
        const table = tableOf(Array.from({ length: SLOTS }, (_, i) => postingAt(i, 8)));
        for (let calls = 0; calls < 40; calls += SLOTS) {
          expect(client.postMany(table, 0, SLOTS, 0)).toBe(SLOTS);
          for (const [i, slot] of [...client.posted].entries())
            expect(client.sequence(slot)).toBe(wrap - 20 + calls + i);
          expect(harvest(client)).toEqual([]);
          echoMany(pair, SLOTS);
          expect(harvestAll(client, SLOTS, 1).size).toBe(SLOTS);
        }
      });

    test("the deadline of a table is that of each of its calls", async () => {
      const { client, worker } = await open();
      const table = tableOf(Array.from({ length: 4 }, (_, i) => postingAt(i, 8)));
      // A worker that cannot read the client's clock learns it from a call that it finds at once.
      expect(client.postMany(table, 0, 1, 60_000)).toBe(1);
      const first = next(worker);
      expect(worker.remainingMs(first)).toBeGreaterThan(30_000);
      worker.answer(first, STATUS.ok, 8);
      expect([...harvestAll(client, 1).values()]).toEqual([8]);
      expect(client.postMany(table, 1, 3, 1)).toBe(3);
      await Bun.sleep(50);
      const late = new Map<number, number>();
      until(() => {
        expect(worker.turn(-1, 0, BRIEFLY)).toBe(IDLE);
        for (const [slot, result] of harvest(client)) late.set(slot, result);
        return late.size === 3;
      }, false);
      expect([...late.values()]).toEqual(new Array(3).fill(STATUS.deadline));
    });
  });

  describe(`${fabric.name}: many calls at once, two processes`, () => {
    for (const polling of ["hot", "warm", "adaptive"] as const)
      test(`every payload of a long stream of tables comes back whole (${polling})`, async () => {
        const slots = 16;
        const shape = { polling, slots, arenaBytes: 64 * 1024, spinNs: 5_000 };
        await using peer = await fabric.remoteEcho(shape);
        const { client, clientArena } = peer;
        const table = tableOf(Array.from({ length: slots }, (_, i) => postingAt(i, 80)));
        const words = (at: number) => new Uint32Array(clientArena, at, 20);
        const inputs = Array.from({ length: slots }, (_, i) => words(i * INPUT_STRIDE));
        const outputs = inputs.map((_, i) => words(OUTPUT_AT + i * INPUT_STRIDE));
        for (let round = 0; round < 1000 * (fabric.share ?? 1); round++) {
          for (const [i, input] of inputs.entries()) input.fill(round * slots + i);
          // Two tables, so that the second meets a ring that is partly full.
          const half = (round % (slots - 1)) + 1;
          expect(client.postMany(table, 0, half, 0)).toBe(half);
          expect(client.postMany(table, half, slots - half, 0)).toBe(slots - half);
          let left = slots;
          while (left > 0) {
            const found = client.harvest(round % slots, (round % slots) + 1);
            for (let i = 0; i < found; i++) expect(client.found[2 * i + 1]).toBe(80);
            left -= found;
          }
          for (const [i, output] of outputs.entries())
            if (output.some((word) => word !== round * slots + i))
              throw new Error(`round ${round}, call ${i}: ${output}`);
        }
      }, 60_000);

    test("calls of a table that the death of the peer leaves unanswered are known to be lost", async () => {
      const shape = { polling: "warm", slots: SLOTS, arenaBytes: 64 * 1024 } as const;
      await using peer = await fabric.remoteEcho(shape);
      const { client } = peer;
      const silent = 1;
      const table = tableOf(Array.from({ length: 4 }, (_, i) => postingAt(i, 8, silent)));
      expect(client.postMany(table, 0, 4, 0)).toBe(4);
      peer.kill();
      expect(client.wait(client.posted[0]!, 0)).toBe(STATUS.workerLost);
      expect(client.lost()).toBe(true);
      for (const [, result] of harvest(client)) expect(result).toBe(STATUS.workerLost);
    });
  });
}
