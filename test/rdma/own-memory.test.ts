/** Memory that the device reads and writes where it is: how much of it the peer may, for how long, and when a transfer is over. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { expectResources, resources, withDevice } from "../support/rdma.ts";

type Good = typeof import("../functions/good.ts");
const GOOD = join(FUNCTIONS, "good.ts");
/** Longer than the longest message of SoftRoCE, and no multiple of it. */
const LONG_BYTES = 20 * 1024 * 1024 + 4096;

function fill(bytes: Uint8Array<ArrayBuffer>, seed: number): void {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + seed, 0x9e3779b1);
}

withDevice("memory of the program's own, over verbs", () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;

  test("is known to the device for as long as it is registered, and to the peer from its first use as an output on", async () => {
    await using rf = await invoker({ fabric: "verbs", cores: 1, connectTimeoutMs: 60_000 });
    await using held = await rf.allocate<Good>(GOOD, { memory: "4MiB", loadTimeoutMs: 60_000 });
    const before = resources();
    const regions = (): number => resources().mr - before.mr;
    const [input, output] = [0, 1].map(() => new Uint32Array(new SharedArrayBuffer(64 * 1024)));
    const [one, other] = [held.register(input!), held.register(output!)];
    const again = held.register(input!);
    expect(regions()).toBe(2);
    input!.fill(7);
    const leased = held.output(Uint32Array, 16 * 1024);
    expect(held.invoke("echo", input!, leased)).toBe(64 * 1024);
    expect(leased).toEqual(new Uint32Array(16 * 1024).fill(7));
    // Whatever is only read can be written by nobody else.
    expect(regions()).toBe(2);
    expect(await held.submit("soon", input!, output!)).toBe(64 * 1024);
    expect(output!.every((word) => word === 7)).toBe(true);
    expect(regions()).toBe(3);
    held.invoke("echo", input!, output!);
    expect(regions()).toBe(3);
    const call = held.submit("soon", input!, output!);
    for (const registration of [one, again, other]) registration[Symbol.dispose]();
    // What a call uses is let go with its end.
    expect(regions()).toBe(3);
    expect(await call).toBe(64 * 1024);
    await expectResources(before);
    // A copy is the lease's own memory.
    using _copied = held.register(new Uint8Array(64 * 1024));
    expect(resources()).toEqual(before);
  });

  test("a registration that outlives its lease does no harm", async () => {
    const before = resources();
    {
      await using rf = await invoker({ fabric: "verbs", cores: 1, connectTimeoutMs: 60_000 });
      const held = await rf.allocate<Good>(GOOD, { memory: "1MiB", loadTimeoutMs: 60_000 });
      const registration = held.register(new Uint8Array(new SharedArrayBuffer(4096)));
      await held.release();
      registration[Symbol.dispose]();
    }
    await expectResources(before);
  });

  test("a one-sided transfer of many messages returns when all of them are complete", async () => {
    await using rf = await invoker({ fabric: "verbs", cores: 1, connectTimeoutMs: 60_000 });
    await using held = await rf.allocate<Good>(GOOD, { memory: "80MiB", loadTimeoutMs: 60_000 });
    const region = held.remote(LONG_BYTES);
    const local = held.input(Uint8Array, LONG_BYTES);
    const back = held.output(Uint8Array, LONG_BYTES);
    const expected = new Uint8Array(LONG_BYTES);
    for (let round = 1; round <= 3; round++) {
      fill(expected, round);
      local.set(expected);
      region.write(0, local);
      // Nothing of it may still have to be read.
      local.fill(0);
      back.fill(0);
      region.read(0, back);
      expect(Buffer.compare(back, expected)).toBe(0);
    }
  });
});
