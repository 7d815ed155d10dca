/** Many calls on one lease. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { withDevice } from "../support/rdma.ts";

type Good = typeof import("../functions/good.ts");

/** More than 16 bits can count. */
const CALLS = 200_000;
const DEPTH = 16;
const WORDS = 16;

withDevice("one lease over verbs", () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;

  test(`answers ${CALLS} calls of two workers, ${DEPTH} at a time, every payload checked`, async () => {
    await using rf = await invoker({ fabric: "verbs", cores: 2 });
    await using lease = await rf.allocate<Good>(join(FUNCTIONS, "good.ts"), {
      workers: 2,
      memory: "1MiB",
      polling: "adaptive",
    });
    let answered = 0;
    const startedNs = Bun.nanoseconds();
    const inTurn = async (_: unknown, lane: number): Promise<void> => {
      const input = lease.input(Uint32Array, WORDS);
      const output = lease.output(Uint32Array, WORDS);
      for (let call = lane; call < CALLS; call += DEPTH) {
        for (let i = 0; i < WORDS; i++) input[i] = Math.imul(call + 1, 0x9e3779b1 + i);
        const written = await lease.submit("echo", input, output);
        for (let i = 0; i < WORDS; i++)
          if (output[i] !== input[i]) throw new Error(`call ${call}: word ${i} is ${output[i]}`);
        if (written !== 4 * WORDS) throw new Error(`call ${call} wrote ${written} bytes`);
        answered++;
      }
    };
    await Promise.all(Array.from({ length: DEPTH }, inTurn));
    expect(answered).toBe(CALLS);
    const seconds = (Bun.nanoseconds() - startedNs) / 1e9;
    console.error(`${CALLS} calls in ${seconds.toFixed(1)} s`);
  });
});
