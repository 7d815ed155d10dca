import { describe, expect, test } from "bun:test";
import {
  type EndReason,
  type LeaseEffect,
  type LeaseEvent,
  type LeaseState,
  REDEEM_LIMIT_NS,
  RIGHT_WARNING_NS,
  advanceLease,
  dueAtNs,
  grantLease,
} from "../../src/lease/lease.ts";

const ASKED: readonly EndReason[] = [{ kind: "released" }, { kind: "client-gone" }];
const UNASKED: readonly EndReason[] = [
  { kind: "expired" },
  { kind: "token-expired" },
  { kind: "unredeemed" },
  { kind: "revoked" },
  { kind: "over-budget" },
  { kind: "load-failed" },
  { kind: "load-timeout" },
  { kind: "host-died", exitCode: 1, signal: null },
  { kind: "host-died", exitCode: null, signal: "SIGKILL" },
  { kind: "node-stopped" },
];
const REASONS = [...ASKED, ...UNASKED];
const LOADED: LeaseEvent = { kind: "loaded", atNs: 20 };

const TTL_NS = 60e9;
const LOAD_LIMIT_NS = 10e9;
const GRANTED = grantLease(10, TTL_NS, LOAD_LIMIT_NS);
const [ACTIVE] = advanceLease(GRANTED, LOADED);
const [REDEEMED] = advanceLease(ACTIVE, { kind: "redeemed", atNs: 21 });
const DEADLINE_NS = 5e9;
const [REVOKING] = advanceLease(REDEEMED, { kind: "revoked", atNs: 22, deadlineNs: DEADLINE_NS });
/** What happens when only time passes, to the state at the time that it asked for. */
const atDue = (state: LeaseState): [LeaseState, LeaseEffect[]] =>
  advanceLease(state, { kind: "time", atNs: dueAtNs(state)! });
const ended = (reason: EndReason, atNs = 30): LeaseEvent => ({ kind: "ended", atNs, reason });

describe("a lease whose client's right ends", () => {
  const UNTIL_NS = 90e9;
  const [bounded] = advanceLease(grantLease(10, TTL_NS, LOAD_LIMIT_NS, UNTIL_NS), LOADED);
  const [redeemed] = advanceLease(bounded, { kind: "redeemed", atNs: 21 });

  test("lasts no longer, however it is renewed", () => {
    let state = redeemed;
    for (let atNs = 1e9; atNs < UNTIL_NS; atNs += 1e9)
      [state] = advanceLease(state, { kind: "renewed", atNs, ttlNs: 1e15 });
    expect(dueAtNs(state)).toBeLessThan(UNTIL_NS);
    [state] = atDue(state);
    expect(dueAtNs(state)).toBe(UNTIL_NS);
    const [over, effects] = atDue(state);
    expect(over).toMatchObject({ phase: "ended", reason: { kind: "token-expired" } });
    expect(effects).toEqual(["announce-loss", "stop-host", "return-capacity"]);
  });

  test("expires before that when nobody renews it", () => {
    const [warned] = atDue(redeemed);
    expect(atDue(warned)[0]).toMatchObject({ phase: "ended", reason: { kind: "expired" } });
  });
});

describe("a granted lease", () => {
  test("remembers when it was granted", () => {
    expect(GRANTED).toEqual({
      phase: "granted",
      grantedAtNs: 10,
      ttlNs: TTL_NS,
      untilNs: Infinity,
      loadByNs: 10 + LOAD_LIMIT_NS,
    });
  });

  test("ends when its module does not finish loading, and not before", () => {
    const before = advanceLease(GRANTED, { kind: "time", atNs: 9 + LOAD_LIMIT_NS });
    expect(before).toEqual([GRANTED, []]);
    const [next, effects] = atDue(GRANTED);
    expect(next).toMatchObject({ phase: "ended", reason: { kind: "load-timeout" } });
    expect(effects).toEqual(["announce-loss", "stop-host", "return-capacity"]);
  });

  test("ends at once when it is revoked: nobody uses it", () => {
    const [next] = advanceLease(GRANTED, { kind: "revoked", atNs: 15, deadlineNs: 1e9 });
    expect(next).toMatchObject({ phase: "ended", endedAtNs: 15, reason: { kind: "revoked" } });
  });

  test("becomes active when its module is loaded, and that is announced", () => {
    expect(advanceLease(GRANTED, LOADED)).toEqual([
      {
        phase: "active",
        grantedAtNs: 10,
        ttlNs: TTL_NS,
        untilNs: Infinity,
        activeAtNs: 20,
        expiresAtNs: 20 + TTL_NS,
        redeemed: false,
      },
      ["announce-grant"],
    ]);
  });
});

describe("an active lease", () => {
  test("stays as it is when it is said to be loaded again", () => {
    expect(advanceLease(ACTIVE, { kind: "loaded", atNs: 99 })).toEqual([ACTIVE, []]);
  });

  test("is taken back when its client never says that it uses it, however often it renews", () => {
    let state = ACTIVE;
    for (let atNs = 1e9; atNs < REDEEM_LIMIT_NS; atNs += 1e9)
      [state] = advanceLease(state, { kind: "renewed", atNs });
    expect(dueAtNs(state)).toBe(20 + REDEEM_LIMIT_NS);
    const [next, effects] = atDue(state);
    expect(next).toMatchObject({ phase: "ended", reason: { kind: "unredeemed" } });
    expect(effects).toEqual(["announce-loss", "stop-host", "return-capacity"]);
  });

  test("expires when it is not renewed, and not a nanosecond before", () => {
    const before = advanceLease(REDEEMED, { kind: "time", atNs: 19 + TTL_NS });
    expect(before).toEqual([REDEEMED, []]);
    expect(dueAtNs(REDEEMED)).toBe(20 + TTL_NS);
    expect(atDue(REDEEMED)[0]).toMatchObject({ phase: "ended", reason: { kind: "expired" } });
  });

  test("lasts its time from each renewal on, and never less than it was promised", () => {
    const [renewed] = advanceLease(REDEEMED, { kind: "renewed", atNs: 30e9 });
    expect(dueAtNs(renewed)).toBe(30e9 + TTL_NS);
    const [late] = advanceLease(renewed, { kind: "renewed", atNs: 29e9 });
    expect(dueAtNs(late)).toBe(30e9 + TTL_NS);
    const [shorter] = advanceLease(renewed, { kind: "renewed", atNs: 31e9, ttlNs: 1e9 });
    expect(dueAtNs(shorter)).toBe(30e9 + TTL_NS);
    const [longer] = advanceLease(renewed, { kind: "renewed", atNs: 31e9, ttlNs: 100e9 });
    expect(dueAtNs(longer)).toBe(131e9);
  });
});

describe("a lease that is being revoked", () => {
  test("tells its client, and ends at the deadline however often it is renewed", () => {
    const [revoking, effects] = advanceLease(REDEEMED, {
      kind: "revoked",
      atNs: 22,
      deadlineNs: DEADLINE_NS,
    });
    expect(effects).toEqual(["announce-revocation"]);
    const [renewed] = advanceLease(revoking, { kind: "renewed", atNs: 4e9 });
    expect(dueAtNs(renewed)).toBe(DEADLINE_NS);
    const [next, last] = atDue(renewed);
    expect(next).toMatchObject({ phase: "ended", reason: { kind: "revoked" } });
    expect(last).toEqual(["announce-loss", "stop-host", "return-capacity"]);
  });

  test("takes an earlier deadline, and no later one", () => {
    const again = (deadlineNs: number) =>
      dueAtNs(advanceLease(REVOKING, { kind: "revoked", atNs: 23, deadlineNs })[0]);
    expect(again(1e9)).toBe(1e9);
    expect(again(9e9)).toBe(DEADLINE_NS);
  });

  test("may be released before", () => {
    const [next, effects] = advanceLease(REVOKING, ended({ kind: "released" }));
    expect(next).toMatchObject({ phase: "ended", reason: { kind: "released" } });
    expect(effects).toEqual(["stop-host", "return-capacity"]);
  });
});

describe.each<[string, LeaseState]>([
  ["a granted lease", GRANTED],
  ["an active lease", ACTIVE],
  ["a redeemed lease", REDEEMED],
  ["a lease that is being revoked", REVOKING],
])("%s", (_, state) => {
  test.each(REASONS)("ends with the time and the reason %j", (reason) => {
    const [next] = advanceLease(state, ended(reason));
    const activeAtNs = state === GRANTED ? undefined : 20;
    expect(next).toEqual({ phase: "ended", grantedAtNs: 10, activeAtNs, endedAtNs: 30, reason });
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
  const OTHERS: readonly LeaseEvent[] = [
    { kind: "redeemed", atNs: 25 },
    { kind: "renewed", atNs: 25 },
  ];
  const events = [LOADED, ...OTHERS, ...REASONS.map((reason) => ended(reason))];
  const histories = events.flatMap((a) =>
    events.flatMap((b) => events.map((c): readonly LeaseEvent[] => [a, b, c])),
  );

  test("gives the capacity back and stops the host exactly once if it has an end, else never", () => {
    for (const history of histories) {
      let state: LeaseState = grantLease(0, TTL_NS, LOAD_LIMIT_NS);
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
      const firstEnd = history.findIndex(({ kind }) => kind === "ended");
      const lived = firstEnd < 0 ? history : history.slice(0, firstEnd);
      const loaded = lived.some(({ kind }) => kind === "loaded");
      expect(times("announce-grant")).toBe(loaded ? 1 : 0);
      expect(effects.at(-1)).toBe(
        ends === 1 ? "return-capacity" : loaded ? "announce-grant" : undefined,
      );
    }
  });
});

describe("a lease that hears of the end of its client's right", () => {
  const UNTIL_NS = 200e9;
  const bounded = (): LeaseState =>
    [LOADED, { kind: "redeemed", atNs: 21 } as const].reduce<LeaseState>(
      (state, event) => advanceLease(state, event)[0],
      grantLease(10, 1000e9, LOAD_LIMIT_NS, UNTIL_NS),
    );
  const warned = (): LeaseState => atDue(bounded())[0];

  test("does so before it ends, however late", () => {
    const state = bounded();
    expect(dueAtNs(state)).toBe(UNTIL_NS - RIGHT_WARNING_NS);
    for (const atNs of [UNTIL_NS - RIGHT_WARNING_NS, UNTIL_NS, 10 * UNTIL_NS]) {
      const [next, effects] = advanceLease(state, { kind: "time", atNs });
      expect(next).toMatchObject({
        phase: "revoking",
        deadlineNs: UNTIL_NS,
        revokedBy: "token-expires",
      });
      expect(effects).toEqual(["announce-revocation"]);
    }
    const [over, effects] = atDue(warned());
    expect(over).toMatchObject({ phase: "ended", reason: { kind: "token-expired" } });
    expect(effects[0]).toBe("announce-loss");
  });

  test("goes on when the right is renewed, before the warning and after", () => {
    const longer = { kind: "extended", atNs: 190e9, untilNs: 900e9 } as const;
    for (const state of [bounded(), warned()]) {
      const [next, effects] = advanceLease(state, longer);
      expect(effects).toEqual(["announce-extension"]);
      expect(next).toMatchObject({ phase: "active", untilNs: 900e9, expiresAtNs: 900e9 });
      expect(dueAtNs(next)).toBe(900e9 - RIGHT_WARNING_NS);
    }
    const loading = grantLease(10, TTL_NS, LOAD_LIMIT_NS, UNTIL_NS);
    expect(advanceLease(loading, longer)[0]).toMatchObject({ phase: "granted", untilNs: 900e9 });
  });

  test("hears so in time where it ends sooner than was said, and is not told that it goes on", () => {
    const sooner = { kind: "extended", atNs: 50e9, untilNs: 150e9 } as const;
    const [next, effects] = advanceLease(bounded(), sooner);
    expect(effects).toEqual([]);
    expect(dueAtNs(next)).toBe(150e9 - (150e9 - 20) / 3);
    expect(atDue(next)[1]).toEqual(["announce-revocation"]);
  });

  test("ends by a revocation that came meanwhile, though the right is renewed", () => {
    const drained = { kind: "revoked", atNs: 150e9, deadlineNs: 300e9, by: "drained" } as const;
    const [both] = advanceLease(warned(), drained);
    expect(both).toMatchObject({ phase: "revoking", deadlineNs: UNTIL_NS });
    const longer = { kind: "extended", atNs: 190e9, untilNs: 900e9 } as const;
    const [next, effects] = advanceLease(both, longer);
    expect(effects).toEqual(["announce-extension", "announce-revocation"]);
    expect(next).toMatchObject({ phase: "revoking", deadlineNs: 300e9, revokedBy: "drained" });
    expect(atDue(next)[0]).toMatchObject({ reason: { kind: "revoked", by: "drained" } });
  });

  test("ends by a revocation that is sooner, whatever the right", () => {
    const soon = { kind: "revoked", atNs: 150e9, deadlineNs: 160e9, by: "drained" } as const;
    const [next] = advanceLease(warned(), soon);
    expect(next).toMatchObject({ deadlineNs: 160e9, revokedBy: "drained" });
    const longer = { kind: "extended", atNs: 155e9, untilNs: 900e9 } as const;
    const [still, effects] = advanceLease(next, longer);
    expect(still).toMatchObject({ phase: "revoking", deadlineNs: 160e9 });
    // Its client would take that for the end of the revocation.
    expect(effects).toEqual([]);
  });

  test("does so where it is to end later for another reason, which counts once the right is renewed", () => {
    const drained = { kind: "revoked", atNs: 100e9, deadlineNs: 300e9, by: "drained" } as const;
    const [told] = advanceLease(bounded(), drained);
    expect(dueAtNs(told)).toBe(UNTIL_NS - RIGHT_WARNING_NS);
    for (const atNs of [UNTIL_NS - RIGHT_WARNING_NS, UNTIL_NS, 250e9]) {
      const [next, effects] = advanceLease(told, { kind: "time", atNs });
      expect(next).toMatchObject({ deadlineNs: UNTIL_NS, revokedBy: "token-expires" });
      expect(effects).toEqual(["announce-revocation"]);
      expect(atDue(next)[0]).toMatchObject({ reason: { kind: "token-expired" } });
      const longer = { kind: "extended", atNs: 190e9, untilNs: 900e9 } as const;
      const [goesOn, more] = advanceLease(next, longer);
      expect(more).toEqual(["announce-extension", "announce-revocation"]);
      expect(goesOn).toMatchObject({ deadlineNs: 300e9, revokedBy: "drained" });
      expect(atDue(goesOn)[0]).toMatchObject({ reason: { kind: "revoked", by: "drained" } });
    }
  });
});
