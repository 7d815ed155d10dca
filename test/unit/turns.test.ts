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

test("every move wakes those who wait for their turn; one who has left stays away", async () => {
  const turns = new Turns();
  const [a, b] = [turns.enter(), turns.enter()];
  const change = b.change();
  a.leave();
  await change;
  a.resume();
  expect(b.first).toBe(true);
});
