/** When an agent looks at its leases, in a time that the test lets pass. */
import { expect, test } from "bun:test";
import { LeaseTimers, type TimedLease } from "../../src/executor/agent/lease-timers.ts";
import { LeaseBook } from "../../src/lease/book.ts";
import { Capacity } from "../../src/lease/capacity.ts";
import { TestClock } from "../support/clock.ts";

const S = 1e9;

/** A node of two cores; `use` says that a lease's workers had calls. */
function node() {
  const clock = new TestClock();
  const book = new LeaseBook(new Capacity([0, 1], 1000));
  const used = new Set<number>();
  let meters = 0;
  const leases = new Map<number, TimedLease>();
  const timers = new LeaseTimers(
    book,
    { lease: (id) => leases.get(id), due() {}, meter: () => meters++ },
    clock,
  );
  const grant = (ttlNs: number, redeemed = true): number => {
    const granted = book.request(
      { workers: 1, memoryBytes: 1, ttlNs, loadLimitNs: 5 * S },
      clock.nowNs(),
    );
    if (typeof granted === "string") throw new Error(granted);
    const { lease } = granted;
    leases.set(lease, {
      wasUsed: () => used.delete(lease),
      advance: (event) => void book.advance(lease, event),
    });
    book.advance(lease, { kind: "loaded", atNs: clock.nowNs() });
    if (redeemed) book.advance(lease, { kind: "redeemed", atNs: clock.nowNs() });
    timers.schedule();
    return lease;
  };
  const phase = (lease: number) => book.state(lease)?.phase;
  return {
    clock,
    book,
    timers,
    grant,
    phase,
    use: (lease: number) => used.add(lease),
    meters: () => meters,
  };
}

test("a lease ends when its time is over, a millisecond late at most, and each by its own time", () => {
  const { clock, grant, phase } = node();
  const [short, long] = [grant(1 * S), grant(2 * S)];
  clock.pass(1000);
  expect([phase(short), phase(long)]).toEqual(["active", "active"]);
  clock.pass(1);
  expect([phase(short), phase(long)]).toEqual(["ended", "active"]);
  clock.pass(1000);
  expect(phase(long)).toBe("ended");
});

test("a lease with calls since the last look goes on, one without does not", () => {
  const { clock, grant, phase, use } = node();
  const [busy, idle] = [grant(1 * S), grant(1 * S)];
  use(busy);
  clock.pass(1100);
  expect([phase(busy), phase(idle)]).toEqual(["active", "ended"]);
  clock.pass(1000);
  expect(phase(busy)).toBe("ended");
});

test("a lease with calls is used, though its client has not come to say so", () => {
  const { clock, grant, phase, use } = node();
  const [busy, idle] = [grant(60 * S, false), grant(60 * S, false)];
  use(busy);
  clock.pass(11_000);
  expect([phase(busy), phase(idle)]).toEqual(["active", "ended"]);
  clock.pass(11_000);
  expect(phase(busy)).toBe("active");
});

test("a machine that stood still excuses a lease once, since its client may have stood still, too", () => {
  const { clock, grant, phase, use } = node();
  const lease = grant(1 * S);
  clock.standStill(5000);
  expect(phase(lease)).toBe("active");
  clock.standStill(5000);
  expect(phase(lease)).toBe("ended");
  // Use makes up for it.
  const used = grant(1 * S);
  clock.standStill(5000);
  use(used);
  clock.pass(1001);
  clock.standStill(5000);
  expect(phase(used)).toBe("active");
});

test("meters are read every tenth of a second from when they are started, and not while nothing is leased", () => {
  const { clock, timers, meters } = node();
  clock.pass(1000);
  expect(meters()).toBe(0);
  timers.startMeters();
  timers.startMeters();
  clock.pass(1000);
  expect(meters()).toBe(10);
  timers.rest();
  clock.pass(1000);
  expect(meters()).toBe(10);
  expect(clock.waiting).toBe(0);
});
