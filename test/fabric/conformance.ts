/**
 * What every fabric must do, written once. A fabric says how to make a connected endpoint, with its worker in this process or in
 * another; the tests know nothing else of it.
 */
import { afterEach, describe, expect, test } from "bun:test";
import type { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import { type Polling, REMOTE, STATUS, TIMED } from "../../ffi/layout.ts";
import {
  FUNCTION_MASK,
  IDLE,
  STOPPED,
  type WorkerControl,
  type WorkerEndpoint,
} from "../../ffi/worker-endpoint.ts";
import { batches } from "./conformance-batches.ts";
import { payloads } from "./conformance-payloads.ts";
import { BRIEFLY, OUTPUT_AT, next, result, until } from "./conformance-steps.ts";

export interface Shape {
  polling: Polling;
  slots: number;
  arenaBytes: number;
  spinNs?: number;
  /** How long ago the lease was granted. */
  agedMs?: number;
}

/** An endpoint whose worker is driven by the test itself. */
export interface LocalPair extends AsyncDisposable {
  client: ClientEndpoint;
  clientArena: ArrayBuffer;
  worker: WorkerEndpoint;
  workerArena: ArrayBuffer;
  /** The sequence of the first call, on both sides. */
  beginAt(sequence: number): void;
  /** Asks the worker to stop, as its host would. */
  stop(): void;
  /** The worker's control, which its host has. */
  control: WorkerControl;
}

/** An endpoint whose worker echoes in a process of its own, pausing at random. */
export interface RemotePair extends AsyncDisposable {
  client: ClientEndpoint;
  clientArena: ArrayBuffer;
  kill(): void;
}

export interface Fabric {
  name: string;
  /** How much of the long tests to run, for a fabric that takes longer for a call. */
  share?: number;
  /** A wake-up may be lost, and a sleep then lasts its time: an emulator lets a load overtake a store where the processor does not. */
  losesWakeUps?: boolean;
  local(shape: Shape): Promise<LocalPair>;
  remoteEcho(shape: Shape): Promise<RemotePair>;
}

export function conformance(fabric: Fabric): void {
  const shape = (over: Partial<Shape> = {}): Shape => ({
    polling: "hot",
    slots: 8,
    arenaBytes: 64 * 1024,
    ...over,
  });

  describe(`${fabric.name}: one endpoint`, () => {
    let pair: LocalPair | undefined;
    const open = async (over: Partial<Shape> = {}): Promise<LocalPair> =>
      (pair = await fabric.local(shape(over)));
    afterEach(async () => {
      await pair?.[Symbol.asyncDispose]();
      pair = undefined;
    });
    const echo = ({ worker, workerArena }: LocalPair, slot: number): number => {
      const [input, output] = payloads(worker, workerArena, slot);
      output.set(input);
      return input.length;
    };

    test("requests are found in the order they were posted, past the end of the ring and back", async () => {
      const { client, clientArena, worker, workerArena } = await open();
      const input = new Uint32Array(clientArena, 0, 1);
      let slot = -1;
      for (let round = 0; round < 100; round++) {
        input[0] = round;
        const posted = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
        slot = next(worker);
        expect(slot).toBe(posted);
        const [seen] = payloads(worker, workerArena, slot);
        expect(new DataView(seen.buffer as ArrayBuffer, seen.byteOffset).getUint32(0, true)).toBe(
          round,
        );
        expect(worker.turn(slot, 0, BRIEFLY)).toBe(IDLE);
        expect(result(client, posted)).toBe(0);
      }
    });

    test("a full ring refuses a call and overwrites nothing; an answer gives the credit back", async () => {
      const { client, clientArena, worker, workerArena } = await open();
      const view = (i: number) => new Uint8Array(clientArena, i * 64, 40);
      const slots = Array.from({ length: 8 }, (_, i) => {
        view(i).fill(i + 1);
        return client.post(0, i * 64, 40, OUTPUT_AT + i * 64, 40, 0);
      });
      expect(new Set(slots).size).toBe(8);
      expect(client.post(0, 0, 40, OUTPUT_AT, 40, 0)).toBe(STATUS.ringFull);
      expect(client.call(0, 0, 40, OUTPUT_AT, 40, 0)).toBe(STATUS.ringFull);

      let slot = next(worker);
      for (let i = 0; i < 8; i++) {
        expect(payloads(worker, workerArena, slot)[0]).toEqual(new Uint8Array(40).fill(i + 1));
        const length = echo(pair!, slot);
        slot = i < 7 ? next(worker, slot, length) : worker.turn(slot, length, BRIEFLY);
      }
      expect(slot).toBe(IDLE);
      for (const [i, posted] of slots.entries()) {
        expect(result(client, posted)).toBe(40);
        expect(new Uint8Array(clientArena, OUTPUT_AT + i * 64, 40)).toEqual(
          new Uint8Array(40).fill(i + 1),
        );
      }
      expect(client.post(0, 0, 40, OUTPUT_AT, 40, 0)).toBeGreaterThanOrEqual(0);
    });

    test("calls answered out of order free their slots, and later requests still come in order", async () => {
      const { client, worker } = await open();
      const first = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
      const held = next(worker);
      worker.defer(held);
      for (let i = 0; i < 50; i++) {
        const ahead = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
        const behind = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
        expect([ahead, behind]).not.toContain(first);
        expect(next(worker)).toBe(ahead);
        expect(next(worker, ahead, 4)).toBe(behind);
        worker.turn(behind, 4, BRIEFLY);
        expect([result(client, behind), result(client, ahead)]).toEqual([4, 4]);
      }
      expect(client.test(first)).toBe(STATUS.pending);
      worker.answer(held, STATUS.ok, 4);
      expect(result(client, first)).toBe(4);
    });

    // The bits of a sequence that an immediate has room for, half of a slot's word, and the first sequence of all.
    for (const wrap of [2 ** 17, 2 ** 32])
      test(`no slot is taken for another where counts pass ${wrap}, by lone calls, bursts and calls out of order`, async () => {
        pair = await open();
        pair.beginAt(wrap - 256);
        const { client, clientArena, worker, workerArena } = pair;
        const input = (at: number) => new Uint32Array(clientArena, at * 64, 1);
        const output = (at: number) => new Uint32Array(clientArena, OUTPUT_AT + at * 64, 1);
        const post = (at: number, value: number) => {
          input(at)[0] = value;
          return client.post(0, at * 64, 4, OUTPUT_AT + at * 64, 4, 0);
        };
        const valueOf = (slot: number) => {
          const [seen] = payloads(worker, workerArena, slot);
          return new DataView(seen.buffer as ArrayBuffer, seen.byteOffset).getUint32(0, true);
        };
        for (let calls = 0, round = 0; calls < 600; round++) {
          const burst = (round % 8) + 1;
          const posted = Array.from({ length: burst }, (_, at) => post(at, calls + at));
          const found = [];
          for (let i = 0; i < burst; i++) {
            const slot = next(worker);
            expect([slot, valueOf(slot), worker.sequence(slot)]).toEqual([
              posted[i]!,
              calls + i,
              wrap - 256 + calls + i,
            ]);
            echo(pair, slot);
            worker.defer(slot);
            found.push(slot);
          }
          expect(worker.turn(-1, 0, BRIEFLY)).toBe(IDLE);
          if (round % 2) found.reverse();
          for (const slot of found) worker.answer(slot, STATUS.ok, 4);
          for (const [at, slot] of posted.entries()) {
            expect([result(client, slot), output(at)[0]]).toEqual([4, calls + at]);
            expect(client.sequence(slot)).toBe(wrap - 256 + calls + at);
          }
          calls += burst;
        }
      });

    test("a slot that was left out for 2^32 calls does not look new, on either side", async () => {
      pair = await open();
      const { client, worker } = pair;
      const fill = () => Array.from({ length: 8 }, () => client.post(0, 0, 4, OUTPUT_AT, 4, 0));
      const answerAll = (slots: number[]) => {
        for (const slot of slots) {
          expect(next(worker)).toBe(slot);
          worker.defer(slot);
        }
        for (const slot of slots) worker.answer(slot, STATUS.ok, 4);
        for (const slot of slots) expect(result(client, slot)).toBe(4);
      };
      answerAll(fill());
      // As if 2^32 calls had gone through other slots: these still hold what is expected next, but for the upper half.
      pair.beginAt(2 ** 32 + 1);
      expect(worker.turn(-1, 0, BRIEFLY)).toBe(IDLE);
      const slots = fill();
      for (const slot of slots) expect(client.test(slot)).toBe(STATUS.pending);
      answerAll(slots);
    });

    test("deadlines hold where a lease's milliseconds pass 2^32", async () => {
      for (const agedMs of [2 ** 32 - 300, 2 ** 31 - 300, 2 ** 33 + 7]) {
        pair = await open({ agedMs });
        const { client, worker } = pair;
        // A worker that cannot read the client's clock learns it from a request that it finds at once.
        const first = client.post(0, 0, 4, OUTPUT_AT, 4, 60_000);
        expect(next(worker)).toBe(first);
        worker.turn(first, 4, BRIEFLY);
        expect(result(client, first)).toBe(4);
        const soon = client.post(0, 0, 4, OUTPUT_AT, 4, 1);
        const found = client.post(0, 0, 4, OUTPUT_AT, 4, 60_000);
        await Bun.sleep(50);
        expect(next(worker)).toBe(found);
        expect(worker.remainingMs(found)).toBeGreaterThan(30_000);
        expect(worker.remainingMs(found)).toBeLessThanOrEqual(60_000);
        worker.turn(found, 4, BRIEFLY);
        expect(result(client, found)).toBe(4);
        expect(result(client, soon)).toBe(STATUS.deadline);
        await pair[Symbol.asyncDispose]();
        pair = undefined;
      }
    });

    for (const bytes of [0, 1, 8, 31, 32, 33, 47, 48, 49, 63, 64, 65, 1024, 16 * 1024]) {
      test(`${bytes} bytes arrive whole in both directions, and their neighbours are untouched`, async () => {
        const { client, clientArena, worker } = await open();
        const all = new Uint8Array(clientArena).fill(0xee);
        const pattern = Uint8Array.from({ length: bytes }, (_, i) => (7 * i + 13) & 0xff);
        all.set(pattern, 64);
        const posted = client.post(0, 64, bytes, OUTPUT_AT, bytes, 0);
        const slot = next(worker);
        worker.turn(slot, echo(pair!, slot), BRIEFLY);
        expect(result(client, posted)).toBe(bytes);
        expect(all.slice(OUTPUT_AT, OUTPUT_AT + bytes)).toEqual(pattern);
        expect(all.slice(64, 64 + bytes)).toEqual(pattern);
        expect([all[63], all[64 + bytes], all[OUTPUT_AT - 1], all[OUTPUT_AT + bytes]]).toEqual([
          0xee, 0xee, 0xee, 0xee,
        ]);
      });
    }

    test("the whole arena can be one payload, and its last byte is reachable", async () => {
      const { client, clientArena, worker, workerArena } = await open();
      const last = clientArena.byteLength - 1;
      new Uint8Array(clientArena)[last] = 0x77;
      const posted = client.post(0, 0, clientArena.byteLength, last, 1, 0);
      const slot = next(worker);
      const [input] = payloads(worker, workerArena, slot);
      expect(input.length).toBe(clientArena.byteLength);
      expect(input[last]).toBe(0x77);
      payloads(worker, workerArena, slot)[1][0] = 0x78;
      worker.turn(slot, 1, BRIEFLY);
      expect(result(client, posted)).toBe(1);
      expect(new Uint8Array(clientArena)[last]).toBe(0x78);
    });

    test("payloads that start at a multiple of 64 do so for the function, inline ones too", async () => {
      const { client, worker, workerArena } = await open();
      for (const bytes of [8, 32, 40, 4096]) {
        const posted = client.post(0, 128, bytes, OUTPUT_AT, bytes, 0);
        const slot = next(worker);
        const [input, output] = payloads(worker, workerArena, slot);
        // Views of the arena start at its own multiple of 64 in memory, which the region's layout guarantees.
        expect(input.byteOffset % 64).toBe(0);
        expect(output.byteOffset % 64).toBe(0);
        worker.turn(slot, 0, BRIEFLY);
        result(client, posted);
      }
    });

    test("a request outside the arena is refused before it is posted", async () => {
      const { client, clientArena } = await open();
      const size = clientArena.byteLength;
      for (const [offset, length] of [
        [size, 1],
        [0, size + 1],
        [size - 1, 2],
        [0xffffffff, 0xffffffff],
      ] as const) {
        expect(client.post(0, offset, length, 0, 0, 0)).toBe(STATUS.badRequest);
        expect(client.post(0, 0, 0, offset, length, 0)).toBe(STATUS.badRequest);
      }
    });

    test("a function index beyond the module's is answered as a bad request, and the next call works", async () => {
      const { client, worker } = await open();
      const bad = client.post(7, 0, 4, OUTPUT_AT, 4, 0);
      const beyond = client.post(FUNCTION_MASK, 0, 4, OUTPUT_AT, 4, 0);
      const good = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
      expect(next(worker)).toBe(good);
      worker.turn(good, 4, BRIEFLY);
      expect([result(client, bad), result(client, beyond), result(client, good)]).toEqual([
        STATUS.badRequest,
        STATUS.badRequest,
        4,
      ]);
    });

    test("an answer longer than the output is refused by the client", async () => {
      const { client, worker } = await open();
      const posted = client.post(0, 0, 4, OUTPUT_AT, 40, 0);
      const slot = next(worker);
      worker.answer(slot, STATUS.ok, 41);
      expect(result(client, posted)).toBe(STATUS.badResponse);
    });

    test("a status that no worker may send is refused by the client", async () => {
      const { client, worker } = await open();
      for (const status of [STATUS.pending, -1000, 5]) {
        const posted = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
        worker.answer(next(worker), status, 0);
        expect(result(client, posted)).toBe(STATUS.badResponse);
      }
    });

    test("a call whose deadline has passed is answered without being run", async () => {
      const { client, worker } = await open();
      // Set-up may have taken longer than a deadline: a worker with another clock learns the client's from a call found at once.
      const first = client.post(0, 0, 4, OUTPUT_AT, 4, 60_000);
      worker.turn(next(worker), 4, BRIEFLY);
      expect(result(client, first)).toBe(4);
      const late = client.post(0, 0, 4, OUTPUT_AT, 4, 1);
      await Bun.sleep(50);
      const ended = until(() => {
        expect(worker.turn(-1, 0, BRIEFLY)).toBe(IDLE);
        return client.test(late);
      }, STATUS.pending);
      expect(ended).toBe(STATUS.deadline);
    });

    test("an abandoned call keeps its slot until the worker answers, then gives it back", async () => {
      const { client, worker } = await open({ slots: 1 });
      const posted = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
      client.abandon(posted);
      expect(client.post(0, 0, 4, OUTPUT_AT, 4, 0)).toBe(STATUS.ringFull);
      worker.turn(next(worker), 4, BRIEFLY);
      expect(until(() => client.post(0, 0, 4, OUTPUT_AT, 4, 0), STATUS.ringFull)).toBe(posted);
    });

    for (const busy of [0, 1])
      test(`lone calls keep to one slot while call ${busy} is abandoned, and begin at the first again after it`, async () => {
        const { client, worker } = await open();
        const lone = (): number => {
          const posted = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
          expect(next(worker)).toBe(posted);
          worker.turn(posted, 4, BRIEFLY);
          expect(result(client, posted)).toBe(4);
          return posted;
        };
        const posted = [0, 1].map(() => client.post(0, 0, 4, OUTPUT_AT, 4, 0));
        const held = posted.map(() => {
          const slot = next(worker);
          worker.defer(slot);
          return slot;
        });
        client.abandon(posted[busy]!);
        worker.answer(held[1 - busy]!, STATUS.ok, 4);
        expect(result(client, posted[1 - busy]!)).toBe(4);
        const kept = Array.from({ length: 20 }, lone);
        expect(new Set(kept)).toEqual(new Set([posted[1 - busy]!]));
        worker.answer(held[busy]!, STATUS.ok, 4);
        until(() => (client.held(posted[busy]!, busy + 1) ? -1 : 0), -1);
        expect(Array.from({ length: 5 }, lone)).toEqual(Array(5).fill(posted[0]!));
      });

    const words = (first = 0n, second = 0n): BigUint64Array<ArrayBuffer> =>
      new BigUint64Array(new ArrayBuffer(24)).fill(first, 0, 1).fill(second, 1, 2);

    for (const bytes of [0, 1, 8, 63, 1000, 15 * 1024])
      test(`${bytes} bytes are written and read where no function takes part`, async () => {
        const { client, clientArena, workerArena } = await open();
        const here = new Uint8Array(clientArena).fill(0xee);
        const there = new Uint8Array(workerArena);
        const pattern = Uint8Array.from({ length: bytes }, (_, i) => (11 * i + 5) & 0xff);
        here.set(pattern, 64);
        expect(client.remote(REMOTE.write, 64, OUTPUT_AT, bytes, words())).toBe(STATUS.ok);
        expect(there.slice(OUTPUT_AT, OUTPUT_AT + bytes)).toEqual(pattern);
        there.fill(0xdd, OUTPUT_AT + bytes, OUTPUT_AT + bytes + 8);
        expect(client.remote(REMOTE.read, 49_001, OUTPUT_AT, bytes, words())).toBe(STATUS.ok);
        expect(here.slice(49_001, 49_001 + bytes)).toEqual(pattern);
        expect([here[49_000], here[49_001 + bytes]]).toEqual([0xee, 0xee]);
      });

    test("a word is added to, modulo 2^64, and what was there before comes back", async () => {
      const { client, workerArena } = await open();
      const word = new BigUint64Array(workerArena, OUTPUT_AT, 1);
      word[0] = 40n;
      const add = (delta: bigint): bigint => {
        const all = words(delta);
        expect(client.remote(REMOTE.fetchAdd, 0, OUTPUT_AT, 8, all)).toBe(STATUS.ok);
        return all[2]!;
      };
      expect(add(2n)).toBe(40n);
      expect(add(2n ** 64n - 43n)).toBe(42n);
      expect(add(0n)).toBe(2n ** 64n - 1n);
      expect(add(1n)).toBe(2n ** 64n - 1n);
      expect(word[0]).toBe(0n);
    });

    test("a word is swapped only when it is what was expected", async () => {
      const { client, workerArena } = await open();
      const word = new BigUint64Array(workerArena, OUTPUT_AT, 1);
      word[0] = 2n ** 63n + 1n;
      const swap = (expected: bigint, desired: bigint): bigint => {
        const all = words(expected, desired);
        expect(client.remote(REMOTE.compareSwap, 0, OUTPUT_AT, 8, all)).toBe(STATUS.ok);
        return all[2]!;
      };
      expect(swap(1n, 7n)).toBe(2n ** 63n + 1n);
      expect(word[0]).toBe(2n ** 63n + 1n);
      expect(swap(2n ** 63n + 1n, 7n)).toBe(2n ** 63n + 1n);
      expect(word[0]).toBe(7n);
    });

    test("a one-sided operation outside the arena, or on half a word, is refused", async () => {
      const { client, clientArena } = await open();
      const size = clientArena.byteLength;
      const refused = [
        [REMOTE.read, 0, size - 7, 8],
        [REMOTE.write, 0, size, 1],
        [REMOTE.read, size - 7, 0, 8],
        [REMOTE.write, 0xffffffff, 0, 0xffffffff],
        [REMOTE.fetchAdd, 0, size - 4, 8],
        [REMOTE.fetchAdd, 0, 4, 8],
        [REMOTE.compareSwap, 0, 8, 4],
        [4, 0, 0, 8],
      ] as const;
      for (const [operation, local, remote, bytes] of refused)
        expect(client.remote(operation, local, remote, bytes, words())).toBe(STATUS.badRequest);
      const posted = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
      expect(posted).toBeGreaterThanOrEqual(0);
    });

    test("one-sided operations and calls share a connection", async () => {
      const { client, worker, clientArena, workerArena } = await open();
      const counter = OUTPUT_AT + 4096;
      for (let i = 0; i < 100; i++) {
        new Uint32Array(clientArena, 0, 1)[0] = i;
        const posted = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
        expect(client.remote(REMOTE.fetchAdd, 0, counter, 8, words(1n))).toBe(STATUS.ok);
        const slot = next(worker);
        worker.turn(slot, echo(pair!, slot), BRIEFLY);
        expect(result(client, posted)).toBe(4);
        expect(new Uint32Array(clientArena, OUTPUT_AT, 1)[0]).toBe(i);
      }
      expect(new BigUint64Array(workerArena, counter, 1)[0]).toBe(100n);
    });

    test("a worker that is closed begins no call, says so of those that wait and come, and ends those that run", async () => {
      const { client, worker, control } = await open({ polling: "warm" });
      const running = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
      const waiting = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
      const slot = next(worker);
      expect([slot, [...control.active(8)]]).toEqual([running, [client.sequence(running)]]);
      control.close();
      // A thread that replaces the worker's tells how many functions there are. The last one is not the module's.
      worker.setFunctionCount(4, 3);
      expect(worker.turn(slot, 4, BRIEFLY)).toBe(IDLE);
      const coming = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
      const ended = until(() => {
        worker.turn(-1, 0, BRIEFLY);
        return client.test(coming);
      }, STATUS.pending);
      expect(ended).toBe(STATUS.notBegun);
      expect([result(client, running), result(client, waiting)]).toEqual([4, STATUS.notBegun]);
      expect([...control.active(8)]).toEqual([]);
      const handingOut = client.post(3, 0, 4, OUTPUT_AT, 4, 0);
      const handed = next(worker);
      expect(worker.turn(handed, 4, BRIEFLY)).toBe(IDLE);
      expect(result(client, handingOut)).toBe(4);
    });

    test("a sleeping worker that is told to stop says so", async () => {
      const { worker, stop } = await open({ polling: "warm" });
      stop();
      expect(worker.turn(-1, 0, 0)).toBe(STOPPED);
    });

    test("a request posted before the worker parks is seen, not slept on", async () => {
      const { client, worker } = await open({ polling: "warm" });
      expect(worker.park()).toBe(false);
      worker.unpark();
      const posted = client.post(0, 0, 4, OUTPUT_AT, 4, 0);
      const seen = until(() => {
        const found = worker.park();
        if (!found) worker.unpark();
        return found;
      }, false);
      expect(seen).toBe(true);
      expect(next(worker)).toBe(posted);
    });
  });

  batches(fabric);

  describe(`${fabric.name}: two processes`, () => {
    for (const polling of ["hot", "warm", "adaptive"] as const) {
      test(`no wake-up is lost between polling and blocking (${polling}, random pauses)`, async () => {
        await using pair = await fabric.remoteEcho(shape({ polling, spinNs: 5_000 }));
        const { client, clientArena } = pair;
        const input = new Uint32Array(clientArena, 0, 2);
        const output = new Uint32Array(clientArena, OUTPUT_AT, 2);
        const calls = (polling === "hot" ? 200_000 : 60_000) * (fabric.share ?? 1);
        let sleeps = 0;
        let late = 0;
        // On a busy machine a worker seldom gets as far as falling asleep: go on until it has.
        for (
          let round = 0;
          round < 5 && (round === 0 || (polling !== "hot" && sleeps === 0));
          round++
        ) {
          for (let i = 1; i <= calls; i++) {
            input[0] = i;
            input[1] = ~i;
            const result = client.call(0, 0, 8, OUTPUT_AT, 8, 10_000);
            if (result !== 8 || output[0] !== i || output[1] !== ~i >>> 0)
              throw new Error(`call ${i} came to ${result}, ${output}`);
            pause(i);
          }
          expect(output[0]).toBe(calls);
          expect(client.call(2, 0, 8, OUTPUT_AT, 8, 10_000)).toBe(8);
          [sleeps, late] = output as unknown as [number, number];
        }
        if (!fabric.losesWakeUps) expect([late, client.sleeps().late]).toEqual([0, 0]);
        // Otherwise nothing was proven.
        if (polling === "hot") expect(sleeps).toBe(0);
        else expect(sleeps).toBeGreaterThan(0);
      }, 60_000);
    }

    test("a full ring of calls in flight is answered whole, again and again", async () => {
      await using pair = await fabric.remoteEcho(shape({ polling: "adaptive", slots: 16 }));
      const { client, clientArena } = pair;
      for (let round = 0; round < 2000 * (fabric.share ?? 1); round++) {
        const slots = Array.from({ length: 16 }, (_, i) => {
          new Uint32Array(clientArena, i * 128, 20).fill(round * 16 + i);
          return client.post(0, i * 128, 80, OUTPUT_AT + i * 128, 80, 0);
        });
        for (const [i, slot] of slots.entries()) {
          expect(client.wait(slot, 10_000)).toBe(80);
          const output = new Uint32Array(clientArena, OUTPUT_AT + i * 128, 20);
          if (output.some((word) => word !== round * 16 + i))
            throw new Error(`round ${round}, slot ${i}: ${output}`);
        }
      }
    }, 60_000);

    test("the death of the peer ends a waiting call, and later ones", async () => {
      await using pair = await fabric.remoteEcho(shape({ polling: "warm" }));
      const { client } = pair;
      expect(client.call(0, 0, 8, OUTPUT_AT, 8, 10_000)).toBe(8);
      pair.kill();
      expect(client.call(0, 0, 8, OUTPUT_AT, 8, 0)).toBe(STATUS.workerLost);
      expect(client.call(0, 0, 8, OUTPUT_AT, 8, 0)).toBe(STATUS.workerLost);
      expect(client.lost()).toBe(true);
    });

    test("a call that nobody answers ends at its deadline", async () => {
      await using pair = await fabric.remoteEcho(shape({ polling: "warm" }));
      const silent = 1;
      expect(pair.client.call(silent, 0, 8, OUTPUT_AT, 8, 50)).toBe(STATUS.deadline);
      expect(pair.client.call(0, 0, 8, OUTPUT_AT, 8, 10_000)).toBe(8);
    });

    test("time stamps of a timed call add up to no more than the call took", async () => {
      await using pair = await fabric.remoteEcho(shape());
      const { client } = pair;
      const startedNs = Bun.nanoseconds();
      const slot = client.post(TIMED, 0, 8, OUTPUT_AT, 8, 0);
      expect(client.wait(slot, 10_000)).toBe(8);
      const tookNs = Bun.nanoseconds() - startedNs;
      const { movedNs, foundNs, ranNs, returnedNs } = client.timings(slot);
      for (const ns of [movedNs, foundNs, ranNs, returnedNs]) expect(ns).toBeGreaterThanOrEqual(0);
      expect(movedNs + foundNs + ranNs + returnedNs).toBeLessThanOrEqual(tookNs * 1.05 + 1000);
    });
  });
}

/** A pause of up to some microseconds that differs from call to call, so that every phase of the peer's sleep is met. */
function pause(i: number): void {
  const spins = (Math.imul(i, 2654435761) >>> 12) & (i % 64 === 0 ? 0xfffff : 0x3ff);
  for (let n = 0; n < spins; n++) Math.sqrt(n);
}
