/** Memory that goes away, or to somebody else, while calls use it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { gzip } from "node:zlib";
import {
  type FabricName,
  type Invoker,
  type Lease,
  OutOfLeaseMemory,
  UsageError,
  invoker,
} from "../../src/index.ts";
import { rdmaDevices } from "../../src/fabric/verbs/devices.ts";
import { FUNCTIONS } from "../support/executable.ts";
import { until } from "../support/until.ts";

type Good = typeof import("../functions/good.ts");
type Bad = typeof import("../functions/bad.ts");
type Bytes = Uint8Array<ArrayBuffer>;
const GOOD = join(FUNCTIONS, "good.ts");
const BAD = join(FUNCTIONS, "bad.ts");
const FABRICS: FabricName[] = [
  "shm",
  "tcp",
  ...(rdmaDevices().length > 0 ? (["verbs"] as const) : []),
];
const MIB = 1024 * 1024;

/** Each takes a buffer's bytes away from it; returns who has them then. */
const TAKEN_BY: Record<string, (buffer: ArrayBuffer) => unknown> = {
  transfer: (buffer) => buffer.transfer(),
  "transfer to nothing": (buffer) => buffer.transfer(0),
  transferToFixedLength: (buffer) => buffer.transferToFixedLength(),
  structuredClone: (buffer) => structuredClone(buffer, { transfer: [buffer] }),
  postMessage: (buffer) => {
    const { port1, port2 } = new MessageChannel();
    port1.postMessage(buffer, [buffer]);
    port1.close();
    return port2;
  },
  "a stream of bytes": (buffer) =>
    new ReadableStream({
      type: "bytes",
      start: (controller) => controller.enqueue(new Uint8Array(buffer)),
    }),
};

/** Memory that is likely where what was just given back was. */
const neighbours = (bytes: number): Bytes[] =>
  Array.from({ length: 32 }, () => new Uint8Array(bytes));
const touched = (arrays: Bytes[]): number =>
  arrays.filter((array) => array.some((byte) => byte !== 0)).length;

const rejection = (call: PromiseLike<unknown>): Promise<Error> =>
  Promise.resolve(call).then(
    (value) => {
      throw new Error(`it resolved to ${value}`);
    },
    (error) => error,
  );

const leaseMappings = (): number =>
  readFileSync("/proc/self/maps", "utf8").match(/memfd:rfaas-lease/g)?.length ?? 0;
const descriptors = (): number => readdirSync("/proc/self/fd").length;

for (const fabric of FABRICS) {
  describe(`over ${fabric}`, () => {
    let rf: Invoker;
    beforeAll(async () => {
      rf = await invoker({ cores: 2, fabric, connectTimeoutMs: 60_000 });
    });
    afterAll(() => rf.close());
    const lease = (memory = "8MiB"): Promise<Lease<Good>> =>
      rf.allocate<Good>(GOOD, { memory, loadTimeoutMs: 60_000 });

    describe("registered memory", () => {
      for (const [how, take] of Object.entries(TAKEN_BY))
        for (const bytes of [64, 4096, MIB])
          test(`of ${bytes} bytes that ${how} takes during a call gets no result, nor does any other`, async () => {
            await using held = await lease();
            const own = new Uint8Array(bytes);
            using _ = held.register(own);
            const call = held.submit("soon", held.input(Uint8Array, bytes).fill(7), own);
            let taken: unknown = take(own.buffer);
            expect(own.length).toBe(0);
            if (how === "transfer to nothing") taken = undefined;
            Bun.gc(true);
            const others = neighbours(bytes);
            const error = await rejection(call);
            expect(error).toBeInstanceOf(UsageError);
            expect(error.message).toContain("transferred or resized");
            expect(touched(others)).toBe(0);
            if (taken instanceof ArrayBuffer) expect(touched([new Uint8Array(taken)])).toBe(0);
          });

      test("that is taken away before a call is refused, on the spot and awaited", async () => {
        await using held = await lease();
        const own = new Uint8Array(4096);
        const registration = held.register(own);
        const other = held.input(Uint8Array, 4096);
        expect(held.invoke("echo", other, own)).toBe(4096);
        own.buffer.transfer();
        expect(() => held.invoke("echo", other, own)).toThrow("transferred");
        expect(() => held.invoke("echo", own, other)).toThrow(UsageError);
        expect(() => held.submit("echo", own, other)).toThrow(UsageError);
        expect(() => held.trySubmit("echo", other, own)).toThrow(UsageError);
        expect(() => held.register(own)).toThrow(UsageError);
        await expect(Array.fromAsync(held.map("echo", [[other, own]]))).rejects.toThrow(UsageError);
        registration[Symbol.dispose]();
        expect(held.freeBytes).toBeGreaterThanOrEqual(8 * MIB - 4096 - 2 * 64);
      });

      test("that is an input may be taken away once the call is submitted", async () => {
        await using held = await lease();
        const own = new Uint8Array(100_000).fill(5);
        using _ = held.register(own);
        const output = held.output(Uint8Array, 100_000);
        const call = held.submit("soon", own, output);
        own.buffer.transfer(0);
        neighbours(100_000).forEach((other) => other.fill(9));
        expect(await call).toBe(100_000);
        expect(output.every((byte) => byte === 5)).toBe(true);
      });

      test("of WebAssembly that grows during a call gets no result", async () => {
        await using held = await lease();
        const memory = new WebAssembly.Memory({ initial: 1, maximum: 1000 });
        const own = new Uint8Array(memory.buffer, 0, 4096);
        using _ = held.register(own);
        const input = held.input(Uint8Array, 4096).fill(7);
        expect(held.invoke("echo", input, own)).toBe(4096);
        expect(own[4095]).toBe(7);
        own.fill(0);
        const call = held.submit("soon", input, own);
        memory.grow(500);
        const others = neighbours(65_536);
        expect(await rejection(call)).toBeInstanceOf(UsageError);
        expect(touched(others)).toBe(0);
        expect(new Uint8Array(memory.buffer, 0, 4096).every((byte) => byte === 0)).toBe(true);
        using _grown = held.register(new Uint8Array(memory.buffer, 0, 4096));
        expect(held.invoke("echo", input, new Uint8Array(memory.buffer, 0, 4096))).toBe(4096);
        expect(new Uint8Array(memory.buffer)[4095]).toBe(7);
      });

      test("that is gone is missed by a view of any kind", async () => {
        await using held = await lease();
        const input = held.input(Uint8Array, 64).fill(7);
        const transferred = new ArrayBuffer(64);
        const shrunk = new ArrayBuffer(64, { maxByteLength: 64 });
        for (const [buffer, take] of [
          [transferred, () => transferred.transfer()],
          [shrunk, () => shrunk.resize(8)],
        ] as const) {
          const view = new DataView(buffer, 0, 64);
          using _ = held.register(view);
          expect(held.invoke("echo", input, view)).toBe(64);
          expect(view.getUint8(63)).toBe(7);
          const call = held.submit("soon", input, view);
          take();
          expect(await rejection(call)).toBeInstanceOf(UsageError);
          expect(() => held.invoke("echo", input, view)).toThrow(UsageError);
          expect(() => held.submit("echo", view, input)).toThrow(UsageError);
        }
      });

      test("that is resized gets results for as long as they fit", async () => {
        await using held = await lease();
        const buffer = new ArrayBuffer(4096, { maxByteLength: 8192 });
        const own = new Uint8Array(buffer, 0, 4096);
        using _ = held.register(own);
        const input = held.input(Uint8Array, 4096).fill(7);
        const grown = held.submit("soon", input, own);
        buffer.resize(8192);
        expect(await grown).toBe(4096);
        expect(new Uint8Array(buffer).reduce((sum, byte) => sum + byte)).toBe(7 * 4096);
        const shrunk = held.submit("soon", input, own);
        buffer.resize(100);
        expect(await rejection(shrunk)).toBeInstanceOf(UsageError);
        expect(new Uint8Array(buffer).every((byte) => byte === 7)).toBe(true);
      });

      test("that is shared can be used where it is, whoever else has it, and grows", async () => {
        await using held = await lease();
        const buffer = new SharedArrayBuffer(64 * 1024, { maxByteLength: 1024 * 1024 });
        const own = new Float64Array(buffer, 0, 8192);
        const inPlace = fabric !== "shm";
        using registration = held.register(own);
        expect(registration.copied).toBe(!inPlace);
        const input = held.input(Float64Array, 8192).map((_, i) => i / 3);
        const there = held.input(Float64Array, 8192);
        there.set(input);
        const call = held.submit("soon", there, own);
        buffer.grow(1024 * 1024);
        expect(await call).toBe(65_536);
        expect(own.every((value, i) => value === i / 3)).toBe(true);
        const back = held.output(Float64Array, 8192);
        expect(held.invoke("echo", own, back)).toBe(65_536);
        expect(back.every((value, i) => value === i / 3)).toBe(true);
      });

      test("that is small is found where the collector has moved it", async () => {
        await using held = await lease();
        for (let round = 0; round < 50; round++) {
          const own = new Uint32Array(2);
          own.set([0, round]);
          const output = new Uint32Array(2);
          using _in = held.register(own);
          using _out = held.register(output);
          const call = held.submit("later", own, output);
          neighbours(8);
          Bun.gc(true);
          expect(await call).toBe(8);
          expect(output[1]).toBe(round);
        }
      });

      test("that is let go during a call stays the call's until it ends", async () => {
        await using held = await lease("64KiB");
        const own = new Uint8Array(40_000);
        const input = held.input(Uint8Array, 100).fill(7);
        const free = held.freeBytes;
        const registration = held.register(own);
        const call = held.submit("soon", input, own);
        registration[Symbol.dispose]();
        expect(() => held.submit("soon", input, own)).toThrow(UsageError);
        expect(held.freeBytes).toBeLessThanOrEqual(free - own.length);
        expect(await call).toBe(100);
        expect(own.slice(0, 101)).toEqual(new Uint8Array(101).fill(7, 0, 100));
        expect(held.freeBytes).toBe(free);
      });
    });

    describe("a function's memory", () => {
      for (const when of ["at once", "from a microtask"])
        for (const bytes of [8, 4096])
          test(`of ${bytes} bytes that it transfers ${when} is there again for the next call`, async () => {
            await using held = await rf.allocate<Bad>(BAD, { memory: "1MiB" });
            const input = held.input(Uint8Array, bytes);
            const output = held.output(Uint8Array, bytes);
            for (let round = 1; round < 20; round++) {
              input.fill(round);
              input[0] = when === "at once" ? 0 : 1;
              output.fill(0);
              expect(await held.submit("transfers", input, output)).toBe(bytes);
              expect(output).toEqual(input);
            }
          });

      test("that several asynchronous calls share is there for each until it ends", async () => {
        await using held = await lease();
        const input = held.input(Uint32Array, 100).fill(7);
        for (const ms of [1, 20]) {
          input[0] = ms;
          const outputs = Array.from({ length: 5 }, () => held.output(Uint32Array, 100));
          const calls = outputs.map((output, i) =>
            i % 2 ? held.submit("soon", input, output) : held.submit("later", input, output),
          );
          expect(await Promise.all(calls)).toEqual(outputs.map(() => 400));
          for (const output of outputs) expect(output).toEqual(input);
        }
      });
    });

    describe("a lease's memory", () => {
      test("that is freed during a call is nobody else's until the call has ended", async () => {
        await using held = await lease("64KiB");
        const input = held.input(Uint8Array, 100);
        const free = held.freeBytes;
        const output = held.output(Uint8Array, 40_000);
        const call = held.submit("soon", input, output);
        held.free(output);
        expect(output.length).toBe(0);
        expect(() => held.free(output)).toThrow(UsageError);
        expect(() => held.invoke("echo", input, output)).toThrow(UsageError);
        expect(held.freeBytes).toBeLessThanOrEqual(free - 40_000);
        expect(await call).toBe(100);
        expect(held.freeBytes).toBe(free);
      });

      test("that is freed after a deadline stays the function's for as long as it runs", async () => {
        await using held = await lease("64KiB");
        for (const give of ["submit", "invoke"] as const) {
          const output = held.output(Uint8Array, 40_000);
          const input = held.input(Uint32Array, 1).fill(400);
          const call = async () => held[give]("later", input, output, { deadlineMs: 20 });
          expect(await rejection(call())).toMatchObject({ code: "RFAAS_DEADLINE_EXCEEDED" });
          held.free(output);
          held.free(input);
          let room: Bytes | undefined;
          while (room === undefined) {
            try {
              room = held.input(Uint8Array, 40_000).fill(0);
            } catch (error) {
              expect(error).toBeInstanceOf(OutOfLeaseMemory);
              await Bun.sleep(1);
            }
          }
          // Whoever was to write there has done so.
          await held.submit("soon", held.input(Uint8Array, 8), held.output(Uint8Array, 8));
          expect(touched([room])).toBe(0);
          held.free(room);
        }
      });

      test("comes back from maps and broadcasts whose calls were abandoned, once their functions have ended", async () => {
        await using held = await lease("64KiB");
        const free = held.freeBytes;
        const input = new Uint32Array(5000).fill(100);
        for (let round = 0; round < 5; round++) {
          const limits = { deadlineMs: 5, settled: true } as const;
          for await (const end of held.map("later", [input], limits))
            expect(end.status).toBe("rejected");
          await until(() => held.freeBytes === free, "a map has given its memory back");
          await held.broadcast("later", input, { deadlineMs: 5 });
          await until(() => held.freeBytes === free, "a broadcast has given its memory back");
        }
      });

      test("that was transferred is refused as an argument of any kind, and freed without harm", async () => {
        await using held = await lease();
        const whole = held.output(Uint8Array, 100);
        const views = [new DataView(whole.buffer), whole, whole.subarray(50)];
        const input = held.input(Uint8Array, 8);
        for (const view of views) {
          expect(held.invoke("echo", input, view)).toBe(8);
          expect(held.invoke("echo", input, view)).toBe(8);
        }
        whole.buffer.transfer();
        for (const view of views) {
          expect(() => held.invoke("echo", input, view)).toThrow(UsageError);
          expect(() => held.submit("echo", view, input)).toThrow(UsageError);
          expect(() => held.remote(8).write(0, view)).toThrow(UsageError);
        }
        held.free(views[0]!);
      });

      test("is reached by no view that says more of itself than it is", async () => {
        await using held = await lease();
        const [honest, liar] = [held.input(Uint8Array, 64), held.output(Uint8Array, 64)];
        for (const lie of [
          { byteLength: 100_000 },
          { byteLength: NaN },
          { byteOffset: -64 },
          { byteOffset: 64 },
        ] as { [name: string]: number }[]) {
          const view = new Uint8Array(liar.buffer);
          for (const [name, value] of Object.entries(lie))
            Object.defineProperty(view, name, { value });
          for (const call of [
            () => held.submit("echo", view, honest),
            () => held.submit("echo", honest, view),
            () => held.invoke("echo", view, honest),
            () => held.invoke("echo", honest, view),
          ])
            expect(call).toThrow(UsageError);
        }
        for (const view of [honest, liar]) held.free(view);
      });

      test("shows a program no more than what it has allocated", async () => {
        await using held = await lease();
        const [first, second] = [held.input(Float64Array, 3), held.output(Uint8Array, 100)];
        expect(first.buffer.byteLength).toBe(24);
        expect(second.buffer.byteLength).toBe(100);
        new Uint8Array(first.buffer).fill(7);
        expect(touched([second])).toBe(0);
      });

      for (const [how, take] of Object.entries(TAKEN_BY))
        test(`can be taken by ${how}, and nothing else of the lease with it`, async () => {
          const before = { mappings: leaseMappings(), descriptors: descriptors() };
          const held = await lease();
          expect(leaseMappings()).toBeGreaterThan(before.mappings);
          const taken = held.output(Uint8Array, 4096);
          const input = held.input(Uint8Array, 4096).fill(7);
          const output = held.output(Uint8Array, 4096);
          expect(held.invoke("echo", input, taken)).toBe(4096);
          const call = held.submit("soon", input, taken);
          const owner = take(taken.buffer);
          await call;
          expect(() => held.invoke("echo", input, taken)).toThrow("transferred");
          expect(() => held.submit("echo", taken, output)).toThrow(UsageError);
          expect(held.invoke("echo", input, output)).toBe(4096);
          expect(output).toEqual(input);
          held.free(taken);
          // What somebody else can write is not given out again.
          const free = held.freeBytes;
          const rest = held.input(Uint8Array, free - 64);
          if (owner instanceof ArrayBuffer) new Uint8Array(owner).fill(9);
          expect(touched([rest.fill(0)])).toBe(0);
          await held.release();
          expect(leaseMappings()).toBe(before.mappings);
          expect(descriptors()).toBeLessThanOrEqual(before.descriptors);
          // A late access is no fault, and harms nobody.
          if (owner instanceof ArrayBuffer) {
            const late = new Uint8Array(owner);
            expect(late[0] ?? 0).toBe(0);
            late.fill(1);
          }
        });

      test("may be read by another thread of the engine while the lease is released", async () => {
        const before = leaseMappings();
        for (let round = 0; round < 5; round++) {
          const held = await lease();
          const zipped = Promise.withResolvers<void>();
          gzip(held.input(Uint8Array, 4 * MIB), (error) => {
            if (error) zipped.reject(error);
            else zipped.resolve();
          });
          await held.release();
          await zipped.promise;
        }
        expect(leaseMappings()).toBe(before);
      });
    });
  });
}
