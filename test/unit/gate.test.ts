/** How many requests of a client are under way at a time. */
import { expect, test } from "bun:test";
import { Gate } from "../../src/client/node/gate.ts";

const LONG_MS = 1e9;
const never = new AbortController().signal;

test("so many go through at a time, the others in the order of their arrival", async () => {
  const gate = new Gate(2);
  const entered: number[] = [];
  const inside = await Promise.all(
    [0, 1].map(async (one) => (entered.push(one), await gate.enter(LONG_MS, never))),
  );
  const behind = [2, 3].map(async (one) => {
    const left = await gate.enter(LONG_MS, never);
    entered.push(one);
    return left;
  });
  await new Promise(setImmediate);
  expect(entered).toEqual([0, 1]);
  inside[0]![Symbol.dispose]();
  (await behind[0]!)[Symbol.dispose]();
  await behind[1];
  expect(entered).toEqual([0, 1, 2, 3]);
});

test("one goes through without a turn when its time is up", async () => {
  const gate = new Gate(0);
  using _ = await gate.enter(1, never);
});

test("a turn that comes as its request is aborted is the next one's", async () => {
  const gate = new Gate(1);
  const inside = await gate.enter(LONG_MS, never);
  const aborted = new AbortController();
  const first = gate.enter(LONG_MS, aborted.signal).then(
    () => "entered",
    () => "aborted",
  );
  const second = gate.enter(LONG_MS, never);
  aborted.abort();
  inside[Symbol.dispose]();
  expect(await first).toBe("aborted");
  (await second)[Symbol.dispose]();
});
