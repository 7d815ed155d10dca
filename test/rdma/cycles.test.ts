/** Connections and leases that come and go by the hundred: nothing is left, and none waits for another try. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { IDLE } from "../../ffi/worker-endpoint.ts";
import { invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { residentBytes } from "../support/processes.ts";
import { expectResources, notReady, resources, withDevice } from "../support/rdma.ts";
import { Connected, Listener } from "./verbs-pair.ts";

type Good = typeof import("../functions/good.ts");

const CYCLES = 1000;
const COLD_STARTS = 200;
/** A cold start takes a fraction of a second here; one that meets a timer of the connection manager's takes several. */
const COLD_START_LIMIT_MS = 5_000;

withDevice("verbs, again and again", (device) => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;

  async function cycle(): Promise<void> {
    using there = await Listener.open(device.address);
    using here = await Connected.open(device.address, there);
    const words = new Uint32Array(here.region.arena, 64, 2);
    words.set([Math.random() * 2 ** 32, 7]);
    const slot = here.client.post(0, 64, 8, 1024, 8, 0);
    let found = -1;
    while (found === -1) found = there.worker.turn(-1, 0, 1);
    const word = there.worker.requests[found * there.worker.slotWords]!;
    expect(word).toBe(words[0]!);
    expect(there.worker.turn(found, 8, 1)).toBe(IDLE);
    expect(here.client.wait(slot, 5_000)).toBe(8);
  }

  test(`${CYCLES} connections with a call each leave no RDMA resource and no memory`, async () => {
    const before = resources();
    // The libraries, the event loop and the collector have what they keep after some hundred cycles.
    for (let i = 0; i < CYCLES / 4; i++) await cycle();
    Bun.gc(true);
    const settled = residentBytes(process.pid);
    for (let i = CYCLES / 4; i < CYCLES; i++) await cycle();
    Bun.gc(true);
    const grown = residentBytes(process.pid) - settled;
    await expectResources(before);
    console.error(`memory has grown by ${(grown / 1024).toFixed(0)} KiB`);
    // A leaked region, queue pair or link is 70 KiB and more: 50 MiB in so many cycles.
    expect(grown).toBeLessThan(8 * 1024 * 1024);
  });

  test(`${COLD_STARTS} cold starts in a row: none hangs, no first call waits for a receiver`, async () => {
    const before = resources();
    const notReadyBefore = notReady(device);
    await using rf = await invoker({ fabric: "verbs", cores: 1, prewarm: 2 });
    const took: number[] = [];
    for (let i = 0; i < COLD_STARTS; i++) {
      const startedMs = performance.now();
      const start = async (): Promise<void> => {
        await using lease = await rf.allocate<Good>(join(FUNCTIONS, "good.ts"), {
          memory: "256KiB",
          slots: 8,
          polling: "warm",
        });
        const input = lease.input(Uint32Array, 2);
        input.fill(i);
        const output = lease.output(Uint32Array, 2);
        expect(lease.invoke("echo", input, output, { deadlineMs: COLD_START_LIMIT_MS })).toBe(8);
        expect(output[1]).toBe(i);
      };
      const watchdog = Bun.sleep(COLD_START_LIMIT_MS).then(() => {
        if (took.length === i) throw new Error(`cold start ${i} hangs`);
      });
      await Promise.race([start(), watchdog]);
      took.push(performance.now() - startedMs);
    }
    took.sort((a, b) => a - b);
    const at = (share: number): string => took[Math.floor(share * (COLD_STARTS - 1))]!.toFixed(0);
    console.error(`cold starts: ${at(0)} to ${at(1)} ms, typically ${at(0.5)} ms`);
    await rf.close();
    await expectResources(before);
    expect(notReady(device)).toEqual(notReadyBefore);
  }, 400_000);
});
