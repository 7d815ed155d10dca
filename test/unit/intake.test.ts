/** When workers of a lease that ends begin calls no more, by a clock of the test's. */
import { expect, test } from "bun:test";
import { Intake, LOOK_MS } from "../../src/executor/host/intake.ts";

const END_MS = 10_000;

/** A worker that runs one call after another of so many milliseconds each, looked at until its intake is closed. */
function closedAt(callMs: number, endMs = END_MS): { atMs: number; lastEndsMs: number } {
  let atMs = 0;
  let closed = false;
  const worker = {
    close: () => (closed = true),
    active: () => [1 + Math.floor(atMs / callMs)],
  };
  const intake = new Intake([worker], 8);
  intake.endsAt(endMs + performance.now());
  intake.stop();
  const began = performance.now();
  for (; !closed && atMs < 2 * endMs; atMs += LOOK_MS) intake.look(began + atMs);
  return { atMs, lastEndsMs: callMs * (1 + Math.floor(atMs / callMs)) };
}

test.each([5, 100, 1000, 3000])(
  "calls of %i ms begin as long as they can end, and end before the lease does",
  (callMs) => {
    const { atMs, lastEndsMs } = closedAt(callMs);
    expect(lastEndsMs).toBeLessThan(END_MS);
    expect(atMs).toBeGreaterThan(END_MS - 2 * callMs - 10 * LOOK_MS);
  },
);

test("behind a call that takes longer than what is left none begins", () => {
  const { atMs } = closedAt(60_000);
  expect(atMs).toBeLessThan(END_MS / 2);
});

test("one whose lease ends at once begins nothing", () => {
  let closed = 0;
  const intake = new Intake([{ close: () => closed++, active: () => [] }], 8);
  intake.endsAt(performance.now());
  intake.endsAt(performance.now() + END_MS);
  expect(closed).toBe(1);
  intake.stop();
});

test("of several ends the first counts, and a look after it closes no second time", () => {
  let closed = 0;
  const intake = new Intake([{ close: () => closed++, active: () => [] }], 8);
  const now = performance.now();
  intake.endsAt(now + 5000);
  intake.endsAt(now + 500_000);
  intake.look(now + 4000);
  expect(closed).toBe(0);
  intake.look(now + 4980);
  expect(closed).toBe(1);
  intake.stop();
});
