import { expect, test } from "bun:test";
import { Turns } from "../../src/client/cluster/turns.ts";

test("whoever came first goes first, and the next when it has left", () => {
  const turns = new Turns();
  const [a, b, c] = [turns.enter(), turns.enter(), turns.enter()];
  expect([a, b, c].map(({ first }) => first)).toEqual([true, false, false]);
  b.leave();
  expect([a, c].map(({ first }) => first)).toEqual([true, false]);
  a.leave();
  expect(c.first).toBe(true);
});

test("who pauses lets the others go and comes back to the old place", () => {
  const turns = new Turns();
  const [a, b] = [turns.enter(), turns.enter()];
  a.pause();
  expect(b.first).toBe(true);
  a.resume();
  expect([a.first, b.first]).toEqual([true, false]);
});

test("whether one before waits for room is known to those behind, not to those before", () => {
  const turns = new Turns();
  const [a, b, c] = [turns.enter(), turns.enter(), turns.enter()];
  expect(c.behindWaiting).toBe(false);
  b.wait();
  expect([a, b, c].map(({ behindWaiting }) => behindWaiting)).toEqual([false, false, true]);
  expect(b.first).toBe(false);
  b.leave();
  expect(c.behindWaiting).toBe(false);
});

/** Whether a promise has resolved, when all that can happen by now has. */
async function isDone(promise: Promise<void>): Promise<boolean> {
  let done = false;
  void promise.then(() => (done = true));
  await new Promise(setImmediate);
  return done;
}

test("one that waits for its turn wakes when it is first, and not before", async () => {
  const turns = new Turns();
  const [a, b, c] = [turns.enter(), turns.enter(), turns.enter()];
  const [second, third] = [b.comes(false), c.comes(false)];
  a.wait();
  a.resume();
  expect(await isDone(second)).toBe(false);
  a.pause();
  expect([await isDone(second), await isDone(third)]).toEqual([true, false]);
  b.leave();
  expect(await isDone(third)).toBe(true);
  expect(await isDone(c.comes(false))).toBe(true);
});

test("one that is impatient wakes as soon as one before it waits, the others do not", async () => {
  const turns = new Turns();
  const [a, b, c] = [turns.enter(), turns.enter(), turns.enter()];
  const [patient, impatient] = [b.comes(false), c.comes(true)];
  expect(await isDone(impatient)).toBe(false);
  a.wait();
  expect([await isDone(patient), await isDone(impatient)]).toEqual([false, true]);
  expect(await isDone(c.comes(true))).toBe(true);
});

test("one that has left wakes, stays away, and leaves its turn to the next", async () => {
  const turns = new Turns();
  const [a, b, c] = [turns.enter(), turns.enter(), turns.enter()];
  const [left, next] = [b.comes(false), c.comes(false)];
  b.leave();
  expect([await isDone(left), await isDone(next)]).toEqual([true, false]);
  a.leave();
  expect(await isDone(next)).toBe(true);
  for (const one of [a, b]) {
    one.resume();
    one.wait();
  }
  expect([c.first, c.behindWaiting]).toEqual([true, false]);
});

test("one that pauses and comes back goes before all that came later", async () => {
  const turns = new Turns();
  const all = Array.from({ length: 100 }, () => turns.enter());
  for (const one of all) one.pause();
  const back = [70, 20, 90, 50];
  for (const one of back) all[one]!.resume();
  expect(back.map((one) => all[one]!.first)).toEqual([false, true, false, false]);
  all[20]!.leave();
  all[90]!.leave();
  expect([70, 50].map((one) => all[one]!.first)).toEqual([false, true]);
});
