import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
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

type Good = typeof import("../functions/good.ts");
const GOOD = join(FUNCTIONS, "good.ts");
const FABRICS: FabricName[] = [
  "shm",
  "tcp",
  ...(rdmaDevices().length > 0 ? (["verbs"] as const) : []),
];

for (const fabric of FABRICS) {
  describe(`over ${fabric}`, () => {
    let rf: Invoker;
    beforeAll(async () => {
      rf = await invoker({ cores: 2, fabric, connectTimeoutMs: 60_000 });
    });
    afterAll(() => rf.close());
    const lease = (memory = "1MiB"): Promise<Lease<Good>> =>
      rf.allocate<Good>(GOOD, { memory, loadTimeoutMs: 60_000 });

    test("of a lease that was released is freed without harm, as in the end of a call that the release has ended", async () => {
      await using held = await lease();
      const buffers = [held.input(Uint8Array, 8), held.output(Uint8Array, 8)];
      await held.release();
      for (const buffer of buffers) expect(() => held.free(buffer)).not.toThrow();
    });

    describe("a remote region", () => {
      test("is written, read, and seen by functions", async () => {
        await using held = await lease();
        const region = held.remote(4096);
        const local = held.input(Uint8Array, 4096);
        const back = held.output(Uint8Array, 4096);
        for (let i = 0; i < 4096; i++) local[i] = (7 * i) & 0xff;
        region.write(0, local);
        region.read(0, back);
        expect(back).toEqual(local);
        const at = held.input(Uint32Array, 1);
        const seen = held.output(Uint8Array, 8);
        at[0] = region.offset + 1000;
        expect(held.invoke("peek", at, seen)).toBe(8);
        expect(seen).toEqual(local.slice(1000, 1008));
      });

      test("begins as zeros, also where something was before", async () => {
        await using held = await lease();
        const used = held.input(Uint8Array, 4096).fill(0xff);
        held.invoke("echo", used, held.output(Uint8Array, 4096));
        held.free(used);
        const region = held.remote(4096);
        const back = held.output(Uint8Array, 4096).fill(1);
        region.read(0, back);
        expect(back).toEqual(new Uint8Array(4096));
      });

      test("counts and swaps words, and says what was there", async () => {
        await using held = await lease();
        const region = held.remote(64);
        expect(region.fetchAdd(8, 5n)).toBe(0n);
        expect(region.fetchAdd(8, 2n ** 64n - 6n)).toBe(5n);
        expect(region.compareAndSwap(8, 1n, 9n)).toBe(2n ** 64n - 1n);
        expect(region.compareAndSwap(8, 2n ** 64n - 1n, 9n)).toBe(2n ** 64n - 1n);
        expect(region.fetchAdd(8, 0n)).toBe(9n);
        expect(region.fetchAdd(0, 0n)).toBe(0n);
      });

      test("refuses what is not within it, or no word", async () => {
        await using held = await lease();
        const region = held.remote(64);
        const local = held.input(Uint8Array, 64);
        expect(() => region.write(1, local)).toThrow(UsageError);
        expect(() => region.read(-8, local)).toThrow(UsageError);
        expect(() => region.fetchAdd(4, 1n)).toThrow(UsageError);
        expect(() => region.fetchAdd(64, 1n)).toThrow(UsageError);
        expect(() => region.read(0, new Uint8Array(8))).toThrow(UsageError);
        expect(() => held.remote(2 ** 30)).toThrow(OutOfLeaseMemory);
      });
    });

    describe("registered memory", () => {
      for (const words of [1, 8, 1000, 50_000])
        test(`of ${words} words is input and output of calls, on the spot and awaited`, async () => {
          await using held = await lease("4MiB");
          const input = Float64Array.from({ length: words }, (_, i) => i / 3);
          const output = new Float64Array(words);
          using _in = held.register(input);
          using _out = held.register(output);
          expect(held.invoke("echo", input, output)).toBe(8 * words);
          expect(output).toEqual(input);
          input.reverse();
          expect(await held.submit("echo", input, output)).toBe(8 * words);
          expect(output).toEqual(input);
          const part = output.subarray(0, 1).fill(0);
          expect(held.invoke("echo", input.subarray(words - 1), part)).toBe(8);
          expect(part[0]).toBe(input[words - 1]!);
        });

      test("goes together with memory of the lease", async () => {
        await using held = await lease();
        const own = new Uint8Array(100).fill(1);
        using _ = held.register(own);
        const leased = held.input(Uint8Array, 100).fill(2);
        expect(held.invoke("echo", leased, own)).toBe(100);
        expect(own).toEqual(new Uint8Array(100).fill(2));
        own.fill(3);
        expect(held.invoke("echo", own, leased)).toBe(100);
        expect(leased).toEqual(new Uint8Array(100).fill(3));
      });

      test("is registered once for the same bytes, and forgotten when the room is needed", async () => {
        await using held = await lease();
        const own = new Uint8Array(400_000);
        const free = held.freeBytes;
        const first = held.register(own);
        const taken = free - held.freeBytes;
        const second = held.register(own);
        expect(free - held.freeBytes).toBe(taken);
        first[Symbol.dispose]();
        expect(held.invoke("echo", own, held.output(Uint8Array, 400_000))).toBe(400_000);
        expect(() => held.input(Uint8Array, 400_000)).toThrow(OutOfLeaseMemory);
        second[Symbol.dispose]();
        held.input(Uint8Array, 400_000);
      });

      test("that was let go, or never was, is refused by name", async () => {
        await using held = await lease();
        const own = new Uint8Array(64);
        const output = held.output(Uint8Array, 64);
        expect(() => held.invoke("echo", own, output)).toThrow(/lease.register/);
        const registration = held.register(own);
        expect(held.invoke("echo", own, output)).toBe(64);
        registration[Symbol.dispose]();
        expect(() => held.invoke("echo", own, output)).toThrow(/lease.register/);
        expect(() => held.register(new Uint8Array(0))).toThrow(UsageError);
        expect(() => held.register(output)).toThrow(UsageError);
      });
    });
  });
}
