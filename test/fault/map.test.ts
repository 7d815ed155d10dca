/** Maps whose workers are killed. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type Lease, WorkerLost, invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS, ServedNode } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

type Good = typeof import("../functions/good.ts");

const scratch = new Scratch();
let nodes: ServedNode[];
beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  nodes = await Promise.all(
    ["a", "b"].map((name) =>
      ServedNode.start(scratch.join(`${name}.sock`), ["--cores", "1", "--fabric", "shm"]),
    ),
  );
});
afterAll(async () => {
  await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
  scratch[Symbol.dispose]();
});

/** A lease on each of the two nodes. */
async function pair() {
  const list = { nodes: nodes.map(({ address }, i) => ({ name: `n${i}`, address })) };
  const rf = await invoker({ nodes: scratch.file("nodes.json", JSON.stringify(list)) });
  const group: Lease<Good> = await rf.allocate<Good>(join(FUNCTIONS, "good.ts"), {
    workers: 2,
    memory: "1MiB",
  });
  return { group, [Symbol.asyncDispose]: () => rf.close() };
}

const COUNT = 2000;

/** Calls of a millisecond each, so that every worker has some whenever it is killed. */
function* inputs(): Generator<Uint32Array<ArrayBuffer>> {
  for (let i = 0; i < COUNT; i++) yield new Uint32Array([1, i]);
}

for (const ordered of [true, false])
  describe(`a map ${ordered ? "in order" : "in any order"}`, () => {
    test("has one result for every input when the host of a lease is killed in its middle, with retries", async () => {
      await using held = await pair();
      const { group } = held;
      expect(group.parts).toHaveLength(2);
      const seen: number[] = [];
      for await (const { index, output } of group.map("later", inputs(), { ordered, retries: 1 })) {
        expect([...new Uint32Array(output.buffer, output.byteOffset, 2)]).toEqual([1, index]);
        if (seen.push(index) === 100) process.kill(group.parts[0]!.hostPid, "SIGKILL");
      }
      const all = Array.from({ length: COUNT }, (_, i) => i);
      expect(ordered ? seen : seen.toSorted((a, b) => a - b)).toEqual(all);
      // And the next map finds what is left.
      expect(await Array.fromAsync(group.map("echo", inputs()))).toHaveLength(COUNT);
    }, 30_000);

    test("says which inputs were lost, without", async () => {
      await using held = await pair();
      const { group } = held;
      const lost: number[] = [];
      let fulfilled = 0;
      for await (const result of group.map("later", inputs(), { ordered, settled: true })) {
        if (result.status === "rejected") {
          expect(result.reason).toBeInstanceOf(WorkerLost);
          lost.push(result.index);
        } else if (++fulfilled === 100) process.kill(group.parts[0]!.hostPid, "SIGKILL");
      }
      expect(lost.length).toBeGreaterThan(0);
      expect(lost.length).toBeLessThanOrEqual(64);
      expect(fulfilled + lost.length).toBe(COUNT);
    }, 30_000);

    test("fails when all workers are gone", async () => {
      await using held = await pair();
      const { group } = held;
      const calls = (async () => {
        for await (const { index } of group.map("later", inputs(), { ordered, retries: 5 }))
          if (index === 100)
            for (const { hostPid } of group.parts) process.kill(hostPid, "SIGKILL");
      })();
      const error = await calls.catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(WorkerLost);
    }, 30_000);
  });
