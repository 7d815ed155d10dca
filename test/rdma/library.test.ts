/** The public API over a real RDMA device: a private node and a served one, real processes. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import {
  DeadlineExceeded,
  FunctionError,
  type Invoker,
  type Lease,
  LeaseLost,
  UsageError,
  invoker,
} from "../../src/index.ts";
import { FUNCTIONS, RFAAS, ServedNode } from "../support/executable.ts";
import { notReady, expectResources, listeningAt, resources, withDevice } from "../support/rdma.ts";

type Good = typeof import("../functions/good.ts");
const GOOD = join(FUNCTIONS, "good.ts");
const BAD = join(FUNCTIONS, "bad.ts");

const MIB = 1024 * 1024;
/** Around what is inline in shared memory, the header's line, a page; the last is longer than the longest message of SoftRoCE. */
const SIZES = [0, 1, 8, 32, 33, 1000, 1024, 4096, 64 * 1024, MIB, 20 * MIB];

function fill<Bytes extends Uint8Array>(bytes: Bytes, seed: number): Bytes {
  let state = (Math.imul(seed, 0x9e3779b1) + 1) | 0;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  for (let i = 0; i < words.length; i++)
    words[i] = state = (Math.imul(state, 1664525) + 1013904223) | 0;
  for (let i = 4 * words.length; i < bytes.length; i++) bytes[i] = seed + i;
  return bytes;
}

/** One call each way of waiting, and nothing around the output is touched. */
async function echoOf(lease: Lease<Good>, bytes: number): Promise<void> {
  const input = lease.input(Uint8Array, bytes);
  const around = lease.output(Uint8Array, bytes + 128);
  const output = around.subarray(64, 64 + bytes);
  const ways = [
    () => lease.invoke("echo", input, output),
    () => lease.submit("echo", input, output).get(),
    async () => await lease.submit("echo", input, output),
  ];
  for (const [i, call] of ways.entries()) {
    fill(input, bytes + i);
    around.fill(0xee);
    expect(await call()).toBe(bytes);
    expect(Buffer.compare(output, input)).toBe(0);
    expect(Buffer.compare(input, fill(new Uint8Array(bytes), bytes + i))).toBe(0);
    const edges = [...around.subarray(0, 64), ...around.subarray(64 + bytes)];
    expect(edges.every((byte) => byte === 0xee)).toBe(true);
  }
  lease.free(input);
  lease.free(around);
}

withDevice("the library over verbs", (device) => {
  const notReadyBefore = notReady(device);
  const open: Record<string, () => Promise<AsyncDisposable & { rf: Invoker }>> = {
    "a private node": async () => {
      const rf = await invoker({ fabric: "verbs", cores: 4, verbs: { device: device.name } });
      return { rf, [Symbol.asyncDispose]: () => rf.close() };
    },
    "a served node": async () => {
      const flags = ["--fabric", "verbs", "--device", device.name, "--cores", "4"];
      const node = await ServedNode.start("127.0.0.1:0", flags);
      const rf = await invoker({ node: listeningAt(node), fabric: "verbs" });
      return {
        rf,
        async [Symbol.asyncDispose]() {
          await rf.close();
          await node[Symbol.asyncDispose]();
        },
      };
    },
  };

  process.env["RFAAS_EXECUTABLE"] = RFAAS;

  for (const [where, openNode] of Object.entries(open)) {
    describe(where, () => {
      let node: Awaited<ReturnType<typeof openNode>>;
      const before = resources();
      const thorough = where === "a private node";
      beforeAll(async () => {
        node = await openNode();
      });
      afterAll(async () => {
        await node?.[Symbol.asyncDispose]();
        await expectResources(before);
      });
      const lease = (options: Parameters<Invoker["allocate"]>[1] = {}) =>
        node.rf.allocate<Good>(GOOD, { memory: "1MiB", ...options });

      test("echoes nothing, one byte and twenty MiB, and whatever lies between", async () => {
        await using held = await lease({ memory: "48MiB", polling: "warm" });
        expect(held.fabric).toBe("verbs");
        for (const bytes of thorough ? SIZES : [...SIZES.slice(0, -1), 9 * MIB])
          await echoOf(held, bytes);
      });

      for (const polling of thorough ? (["hot", "warm", "adaptive"] as const) : [undefined])
        test(`answers the calls of a lease that is ${polling ?? "as the node says"}, however they are waited for`, async () => {
          await using held = await lease(polling === undefined ? {} : { polling });
          expect(held.polling).toBe(polling ?? "adaptive");
          const input = held.input(Uint32Array, 16);
          const output = held.output(Uint32Array, 16);
          for (let i = 0; i < 300; i++) {
            input.fill(i);
            expect(held.invoke("echo", input, output)).toBe(64);
            expect(output.every((word) => word === i)).toBe(true);
          }
          for (let i = 0; i < 100; i++) {
            input.fill(~i);
            expect(await held.submit("soon", input, output)).toBe(64);
            expect(output[15]).toBe(~i >>> 0);
          }
          const chunks = Array.from({ length: 200 }, (_, i) => {
            const size = 1 + (i % 40);
            return [held.input(Uint32Array, size).fill(i), held.output(Uint32Array, size)] as const;
          });
          const written = (await Array.fromAsync(held.map("echo", chunks))).map(
            ({ bytes }) => bytes,
          );
          expect(written).toEqual(chunks.map(([sent]) => sent.byteLength));
          for (const [sent, received] of chunks) expect(received).toEqual(sent);
        });

      test("passes a function's error on, with its name, its code and its stack", async () => {
        await using held = await node.rf.allocate<typeof import("../functions/bad.ts")>(BAD, {
          memory: "1MiB",
          polling: "warm",
        });
        const view = held.input(Uint8Array, 8);
        const error: unknown = await held.submit("throwsError", view, view).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        expect(error).toBeInstanceOf(FunctionError);
        expect(error).toMatchObject({ name: "TypeError", code: "E_SPOT" });
        expect((error as FunctionError).remoteStack).toContain("bad.ts");
        expect(() => held.invoke("throwsError", view, view)).toThrow("the spot is negative");
        expect(() => held.invoke("throwsLong", view, view)).toThrow("üüü");
        expect(() => held.invoke("returnsTooMuch", view, view)).toThrow("pass a larger output");
        expect(held.invoke("fine", view, view)).toBe(0);
      });

      test("ends what is in flight when the lease is released", async () => {
        const held = await lease({ polling: "warm" });
        const view = held.input(Uint8Array, 8);
        const flying = held
          .submit("pending", view, view)
          .then()
          .catch((error: unknown) => error);
        await held.release();
        expect(await flying).toBeInstanceOf(LeaseLost);
        expect(view.length).toBe(0);
        expect((await node.rf.status()).leases).toBe(0);
      });

      if (!thorough) return;

      test("answers calls that share an input while they are in flight, of one worker and of two", async () => {
        await using held = await lease({ workers: 2, polling: "warm" });
        const input = held.input(Uint32Array, 100);
        const outputs = Array.from({ length: 12 }, () => held.output(Uint32Array, 100));
        for (let round = 0; round < 20; round++) {
          input.fill(round)[0] = 2;
          const calls = outputs.map((output, i) =>
            held.submit("later", input, output.fill(99), { worker: i % 2 }),
          );
          for (const call of calls) expect(await call).toBe(400);
          for (const output of outputs) expect(output).toEqual(input);
        }
        // In place, too.
        input.fill(7);
        expect(held.invoke("echo", input, input)).toBe(400);
        expect(input.every((word) => word === 7)).toBe(true);
      });

      test("takes parts of buffers as inputs, even those that touch", async () => {
        await using held = await lease({ polling: "warm" });
        const all = fill(held.input(Uint8Array, 4096), 3);
        const cuts = [0, 1, 63, 64, 65, 128, 1000, 1064, 2048, 4096];
        const parts = cuts.slice(1).map((end, i) => all.subarray(cuts[i], end));
        const outputs = parts.map((part) => held.output(Uint8Array, part.length));
        const calls = parts.map((part, i) => held.submit("echo", part, outputs[i]!));
        for (const [i, call] of calls.entries()) {
          expect(await call).toBe(parts[i]!.length);
          expect(outputs[i]).toEqual(parts[i]!);
        }
        expect(all).toEqual(fill(new Uint8Array(4096), 3));
      });

      test("ends a call at its deadline, and its worker goes on", async () => {
        await using held = await lease({ polling: "warm" });
        const input = held.input(Uint32Array, 2);
        const output = held.output(Uint32Array, 2);
        const late = { deadlineMs: 50 };
        expect(() => held.invoke("pending", input, output, late)).toThrow(DeadlineExceeded);
        expect(() => held.submit("pending", input, output, late).get()).toThrow(DeadlineExceeded);
        await expect(held.submit("pending", input, output, late).then()).rejects.toThrow(
          DeadlineExceeded,
        );
        const unhurried = { deadlineMs: 20_000 };
        expect(held.invoke("echo", input, output, unhurried)).toBe(8);
        expect(await held.submit("echo", input, output, unhurried)).toBe(8);
      });

      test("says where a call's time went", async () => {
        await using held = await lease({ polling: "warm" });
        const input = held.input(Uint32Array, 2).fill(20);
        const output = held.output(Uint32Array, 2);
        const startedNs = Bun.nanoseconds();
        const call = held.submit("busy", input, output, { timings: true });
        expect(call.get()).toBe(0);
        const tookNs = Bun.nanoseconds() - startedNs;
        const { queuedNs, movedNs, foundNs, ranNs, returnedNs } = call.timings!;
        expect(ranNs).toBeGreaterThan(19e6);
        for (const part of [queuedNs, movedNs, foundNs, returnedNs])
          expect(part).toBeGreaterThanOrEqual(0);
        // Two clocks, each with a rate of its own.
        expect(queuedNs + movedNs + foundNs + ranNs + returnedNs).toBeLessThan(1.05 * tookNs);
      });
    });
  }

  test("naming a device asks for verbs, of a private node too", async () => {
    await using rf = await invoker({ verbs: { device: device.name }, prewarm: 0 });
    expect(rf.nodes()[0]!.fabric).toBe("verbs");
  });

  test("a served node and its client agree on shared memory on one machine, and on what else they are told", async () => {
    await using node = await ServedNode.start("127.0.0.1:0", ["--cores", "4"]);
    expect(node.stderr).toContain(`verbs (${device.address}`);
    for (const [fabric, expected] of [
      [undefined, "shm"],
      ["shm", "shm"],
      ["verbs", "verbs"],
    ] as const) {
      await using rf = await invoker({
        node: listeningAt(node),
        ...(fabric === undefined ? {} : { fabric }),
      });
      await using held = await rf.allocate<Good>(GOOD, { memory: "1MiB", polling: "warm" });
      expect(held.fabric).toBe(expected);
      const input = held.input(Uint8Array, 100).fill(5);
      const output = held.output(Uint8Array, 100);
      expect(held.invoke("echo", input, output)).toBe(100);
      expect(output).toEqual(input);
    }
    // Nothing inline, and more than the device can.
    for (const inlineMax of [0, 4096]) {
      await using rf = await invoker({
        node: listeningAt(node),
        verbs: { inlineMax },
        fabric: "verbs",
      });
      await using held = await rf.allocate<Good>(GOOD, { memory: "1MiB", polling: "warm" });
      for (const bytes of [0, 8, 300, 5000]) await echoOf(held, bytes);
    }
    await expect(invoker({ fabric: "verbs", verbs: { inlineMax: -1 } })).rejects.toThrow(
      UsageError,
    );
  });

  test("no call has waited for a receiver that was not ready", () => {
    expect(notReady(device)).toEqual(notReadyBefore);
  });
});
