/** Where a request stands in line. */
import { expect, test } from "bun:test";
import { ClusterNode, type ConnectedNode, type WantedRoom } from "../../src/client/cluster/node.ts";
import { Places } from "../../src/client/cluster/places.ts";
import { TestClock } from "../support/clock.ts";

/** A request at one node, and what that is asked for. */
function requestAt(cores: number) {
  const clock = new TestClock();
  const asked: WantedRoom[] = [];
  const left: WantedRoom[] = [];
  let passed = 0;
  const connected: Partial<ConnectedNode> = {
    cores,
    hasLine: true,
    waitInLine(wanted, signal) {
      asked.push(wanted);
      const over = Promise.withResolvers<void>();
      signal.addEventListener("abort", () => {
        left.push(wanted);
        over.reject(signal.reason);
      });
      return over.promise;
    },
  };
  const node = new ClusterNode(
    { name: "n", address: "n", state: "up", cores },
    // What a request in line needs of it.
    async () => connected as ConnectedNode,
    () => {},
    clock,
  );
  const places = new Places({
    ...{ nodes: new Map([["n", node]]), random: () => 0, clock, coresPerWorker: 1 },
    ...{ memoryBytes: 1, heapBytes: 0, maxNodes: Infinity, maxWorkersPerLease: 64 },
    ...{ startedMs: clock.nowMs(), beganAtMs: clock.wallMs(), timeoutMs: 60_000 },
    refused: (error) => {
      throw error;
    },
  });
  const fill = async (workers: number) => {
    places.fill(workers);
    for (let i = 0; i < 10; i++) await Promise.resolve();
  };
  const offer = (workers: number) =>
    asked.at(-1)!.offered({ number: asked.length, workers, pass: () => passed++ });
  return { places, asked, left, fill, offer, passed: () => passed };
}

test("a request that wants more than before stands in line anew, for all of it", async () => {
  const { asked, left, fill, offer, passed, places } = requestAt(8);
  await fill(1);
  offer(1);
  expect(asked.map(({ workers, isPart }) => [workers, isPart])).toEqual([[1, false]]);
  // It held others as leases, which it has given back.
  await fill(8);
  expect(asked.map(({ workers, isPart }) => [workers, isPart])).toEqual([
    [1, false],
    [8, true],
  ]);
  expect([left.length, passed(), places.offered]).toEqual([1, 1, 0]);
});

test("a request that wants less keeps its place", async () => {
  const { asked, left, fill } = requestAt(8);
  await fill(8);
  await fill(3);
  expect([asked.length, left.length]).toEqual([1, 0]);
});
