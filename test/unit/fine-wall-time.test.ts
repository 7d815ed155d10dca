/** Wall time that tells two moments apart. */
import { expect, test } from "bun:test";
import { type Clock, FineWallTime } from "../../src/base/clock.ts";

/** A machine's clock, whose wall time has whole milliseconds. */
function machine() {
  const at = { ms: 0.25, setByMs: 0 };
  const clock = {
    nowMs: () => at.ms,
    wallMs: () => Math.floor(1e12 + at.ms + at.setByMs),
  } as Clock;
  return { at, clock };
}

test("of two moments within a millisecond the later one has the larger number", () => {
  const { at, clock } = machine();
  const wall = new FineWallTime(clock);
  let last = wall.nowMs();
  for (let i = 0; i < 50; i++) {
    at.ms += 0.125;
    expect(wall.nowMs()).toBeGreaterThan(last);
    last = wall.nowMs();
  }
  expect(Math.abs(last - clock.wallMs())).toBeLessThan(2);
});

test("programs that begin in the same millisecond have numbers of their own", () => {
  const { clock } = machine();
  const [one, other] = [0.1, 0.7].map((part) => new FineWallTime(clock, () => part));
  expect(one!.nowMs()).not.toBe(other!.nowMs());
});

test("a clock that is set counts from then on", () => {
  const { at, clock } = machine();
  const wall = new FineWallTime(clock, () => 0);
  const before = wall.nowMs();
  expect(wall.monotonicMs(before)).toBeCloseTo(at.ms, 3);
  at.setByMs = -3_600_000;
  expect(wall.nowMs()).toBe(clock.wallMs());
  expect(wall.monotonicMs(clock.wallMs())).toBeCloseTo(at.ms, 3);
});
