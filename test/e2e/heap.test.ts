/**
 * A lease that takes more memory than it may have ends, by whatever it takes it, and its neighbours do not. What it had at most is the
 * kernel's word, read every few milliseconds; no test asks a clock.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { treeUsage } from "../../ffi/children.ts";
import { type Invoker, OutOfMemory, WorkerLost, invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { until } from "../support/until.ts";

type Functions = typeof import("../functions/eats.ts");

const EATS = join(FUNCTIONS, "eats.ts");
const MIB = 2 ** 20;
const MEMORY = 16 * MIB;
const HEAP = 48 * MIB;
const MOST = 1.25 * (MEMORY + HEAP);
const WAYS = ["objects", "typedArrays", "native", "mappings", "memories", "children"] as const;
const PROPER = { memory: MEMORY, heap: HEAP, polling: "warm" } as const;

let rf: Invoker;
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  rf = await invoker({ cores: 2, memory: "1GiB", sandbox: "none" });
});
afterAll(async () => await rf.close());

/** A lease, its calls, and the most that the kernel has seen of its processes, without what its host had before. */
async function eater(options: object = {}) {
  const lease = await rf.allocate<Functions>(EATS, { ...PROPER, ...options });
  const input = lease.input(Float64Array, 1);
  const output = lease.output(Uint8Array, 8);
  const bare = treeUsage(lease.hostPid)!;
  let peakBytes = 0;
  const look = setInterval(() => {
    const quick = treeUsage(lease.hostPid);
    const usage = quick && quick.processes > 1 ? treeUsage(lease.hostPid, true) : quick;
    if (usage) peakBytes = Math.max(peakBytes, usage.privateBytes + usage.sharedBytes);
  }, 4);
  return {
    lease,
    bareBytes: bare.privateBytes + bare.sharedBytes,
    peakBytes: () => peakBytes - bare.privateBytes,
    eat(name: keyof Functions, mib: number): Promise<unknown> {
      input[0] = mib;
      return lease.submit(name, input, output).then(
        () => undefined,
        (error: unknown) => error,
      );
    },
    async [Symbol.asyncDispose]() {
      clearInterval(look);
      await lease.release().catch(() => {});
    },
  };
}

describe("a lease that takes more than its heap", () => {
  for (const name of WAYS) {
    test(`as ${name} ends with OutOfMemory within a quarter of its bounds, and its neighbour computes on`, async () => {
      await using neighbour = await rf.allocate<Functions>(EATS, { memory: "1MiB" });
      const [question, answer] = [neighbour.input(Uint8Array, 8), neighbour.output(Uint8Array, 8)];
      await using held = await eater();
      let wrong = 0;
      let answered = 0;
      const ended = held.eat(name, 500);
      let over = false;
      void ended.then(() => (over = true));
      while (!over) {
        question.fill(answered++ % 251);
        await neighbour.submit("echo", question, answer);
        if (answer.some((byte, i) => byte !== question[i])) wrong++;
      }
      const error = (await ended) as OutOfMemory;
      expect(error).toBeInstanceOf(OutOfMemory);
      expect(error).toBeInstanceOf(WorkerLost);
      expect(error.code).toBe("RFAAS_OUT_OF_MEMORY");
      expect(error.heapBytes).toBe(HEAP);
      expect(error.usedBytes).toBeGreaterThan(HEAP);
      expect(error.message).toContain("its heap is 48 MiB");
      // It was looked at as it grew; how near its end the last look was is the machine's business.
      expect(held.peakBytes()).toBeGreaterThan(MIB);
      // Several processes write faster than a busy machine lets the agent look: a control group alone bounds them exactly.
      if (name !== "children") expect(held.peakBytes()).toBeLessThanOrEqual(MOST);
      expect([wrong, answered > 0]).toEqual([0, true]);
      await until(() => treeUsage(held.lease.hostPid) === undefined, "its processes are gone");
      expect(await neighbour.submit("echo", question, answer)).toBe(8);
    });
  }

  test("is told apart by a call that blocks, and by all calls that come later", async () => {
    await using held = await eater();
    const input = held.lease.input(Float64Array, 1).fill(500);
    const output = held.lease.output(Uint8Array, 8);
    expect(() => held.lease.invoke("typedArrays", input, output)).toThrow(OutOfMemory);
    expect(() => held.lease.invoke("echo", output, output)).toThrow(OutOfMemory);
  });
});

test("a lease that stays within its heap, and uses all of its memory, is left alone", async () => {
  await using held = await eater();
  const whole = held.lease.input(Uint8Array, 15 * MIB).fill(7);
  expect(whole.at(-1)).toBe(7);
  expect(await held.eat("typedArrays", 24)).toBeUndefined();
  expect(await held.eat("scratch", 100)).toBeUndefined();
});

test("a host that has loaded no module has 32 MiB of its own at most", async () => {
  await using held = await eater();
  expect(held.bareBytes).toBeLessThan(32 * MIB);
});

test("a heap that is asked for is taken from the memory that the node leases", async () => {
  const before = (await rf.status()).freeMemoryBytes;
  await using _ = await eater();
  expect(before - (await rf.status()).freeMemoryBytes).toBe(MEMORY + HEAP);
  await expect(rf.allocate(EATS, { ...PROPER, heap: "2GiB" })).rejects.toThrow("or heap");
});
