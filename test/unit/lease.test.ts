import { describe, expect, test } from "bun:test";
import {
  type EndReason,
  type LeaseEffect,
  type LeaseEvent,
  type LeaseState,
  advanceLease,
  grantLease,
} from "../../src/lease/lease.ts";

const ASKED: readonly EndReason[] = [{ kind: "released" }, { kind: "client-gone" }];
const UNASKED: readonly EndReason[] = [
  { kind: "load-failed" },
  { kind: "host-died", exitCode: 1, signal: null },
  { kind: "host-died", exitCode: null, signal: "SIGKILL" },
  { kind: "node-stopped" },
];
const REASONS = [...ASKED, ...UNASKED];
const LOADED: LeaseEvent = { kind: "loaded", atNs: 20 };

const GRANTED = grantLease(10);
const [ACTIVE] = advanceLease(GRANTED, LOADED);
const ended = (reason: EndReason, atNs = 30): LeaseEvent => ({ kind: "ended", atNs, reason });

describe("a granted lease", () => {
  test("remembers when it was granted", () => {
    expect(GRANTED).toEqual({ phase: "granted", grantedAtNs: 10 });
  });

  test("becomes active when its module is loaded, and that is announced", () => {
    expect(advanceLease(GRANTED, LOADED)).toEqual([
      { phase: "active", grantedAtNs: 10, activeAtNs: 20 },
      ["announce-grant"],
    ]);
  });
});

describe("an active lease", () => {
  test("stays as it is when it is said to be loaded again", () => {
    expect(advanceLease(ACTIVE, { kind: "loaded", atNs: 99 })).toEqual([ACTIVE, []]);
  });
});

describe.each<[string, LeaseState]>([
  ["a granted lease", GRANTED],
  ["an active lease", ACTIVE],
])("%s", (_, state) => {
  test.each(REASONS)("ends with the time and the reason %j", (reason) => {
    const [next] = advanceLease(state, ended(reason));
    expect(next).toEqual({ phase: "ended", grantedAtNs: 10, endedAtNs: 30, reason });
  });

  test.each(ASKED)("ends without news for a client that asked for it: %j", (reason) => {
    const [, effects] = advanceLease(state, ended(reason));
    expect(effects).toEqual(["stop-host", "return-capacity"]);
  });

  test.each(UNASKED)("tells the client first when it ends by %j", (reason) => {
    const [, effects] = advanceLease(state, ended(reason));
    expect(effects).toEqual(["announce-loss", "stop-host", "return-capacity"]);
  });

  test("is not changed in place by an event", () => {
    const before = structuredClone(state);
    advanceLease(state, LOADED);
    advanceLease(state, ended({ kind: "released" }));
    expect(state).toEqual(before);
  });
});

describe("an ended lease", () => {
  const [over] = advanceLease(ACTIVE, ended({ kind: "released" }));

  test.each<LeaseEvent>([LOADED, ...REASONS.map((reason) => ended(reason, 40))])(
    "keeps its end and does nothing on %j",
    (event) => {
      expect(advanceLease(over, event)).toEqual([over, []]);
    },
  );
});

describe("every history of three events", () => {
  const events = [LOADED, ...REASONS.map((reason) => ended(reason))];
  const histories = events.flatMap((a) =>
    events.flatMap((b) => events.map((c): readonly LeaseEvent[] => [a, b, c])),
  );

  test("gives the capacity back and stops the host exactly once if it has an end, else never", () => {
    for (const history of histories) {
      let state: LeaseState = grantLease(0);
      const effects: LeaseEffect[] = [];
      for (const event of history) {
        const [next, more] = advanceLease(state, event);
        state = next;
        effects.push(...more);
      }
      const ends = history.some(({ kind }) => kind === "ended") ? 1 : 0;
      const times = (wanted: LeaseEffect) => effects.filter((effect) => effect === wanted).length;
      expect(times("return-capacity")).toBe(ends);
      expect(times("stop-host")).toBe(ends);
      expect(times("announce-loss")).toBeLessThanOrEqual(ends);
      expect(times("announce-grant")).toBe(history[0]?.kind === "loaded" ? 1 : 0);
      expect(effects.at(-1)).toBe(ends === 1 ? "return-capacity" : "announce-grant");
    }
  });
});
