/** Quotas of users over a cluster: what the manager says, and what nodes do while it is away. */
import { describe, expect, test } from "bun:test";
import { ClusterQuota, type QuotaManager } from "../../src/executor/admission/cluster-quota.ts";
import type { Identity } from "../../src/executor/admission/identity.ts";
import { RequestRefused } from "../../src/control/requests.ts";
import {
  CORE_HOUR_NS,
  type Limits,
  NOTHING,
  allowanceOf,
  crossed,
  lastsMs,
  shareOf,
  strictest,
} from "../../src/lease/quota.ts";
import type { UsageReport } from "../../src/protocol/manager-messages.ts";
import { Ledger } from "../../src/manager/ledger/ledger.ts";
import { QuotaDesk } from "../../src/manager/peers/quota-desk.ts";
import { ClusterQuotas, type Held } from "../../src/manager/quotas/cluster-quotas.ts";
import { periodAt } from "../../src/manager/quotas/core-hours.ts";
import { TestClock } from "../support/clock.ts";
import { Scratch } from "../support/scratch.ts";

const MIB = 2 ** 20;
const NO_USAGE = { allocationCoreNs: 0, executionNs: 0, pollingNs: 0, calls: 0, bytes: 0 };
const WALL_MS = Date.UTC(2026, 2, 10, 12);
const held = (lease: number, cores = 1, user = "ada", mib = 64): Held => ({
  ...{ lease, user, cores, memoryBytes: mib * MIB },
});

function managing(limits: Record<string, Limits> = {}, used = 0) {
  const table = new Map(Object.entries(limits));
  const spent = { coreNs: used };
  const quotas = new ClusterQuotas({ limits: () => table, usedCoreNs: () => spent.coreNs }, 60_000);
  for (const name of ["n1", "n2", "n3"]) quotas.came(`${name}-i`, name);
  const reserve = (node: string, one: Held, claims: Limits = {}) =>
    quotas.reserve(`${node}-i`, one, claims, WALL_MS);
  return { quotas, table, spent, reserve };
}

describe("what users may hold", () => {
  test("is the lower one of each limit of the token and of the table", () => {
    expect(strictest({ maxCores: 4, maxLeases: 9 }, { maxCores: 8, maxMemoryBytes: 5 })).toEqual({
      ...{ maxCores: 4, maxLeases: 9, maxMemoryBytes: 5 },
    });
    const day = { coreHours: { hours: 10, period: "day" } } as const;
    const month = { coreHours: { hours: 100, period: "month" } } as const;
    expect(strictest(day, month)).toEqual(month);
    expect(strictest(month, {})).toEqual(month);
  });

  test("names the first limit that is crossed, and none that is just reached", () => {
    const wanted = { cores: 2, memoryBytes: 10, leases: 1 };
    const limits = { maxCores: 4, maxMemoryBytes: 20, maxLeases: 2 };
    const holding = { cores: 2, memoryBytes: 10, leases: 1 };
    expect(crossed(limits, holding, wanted)).toBeUndefined();
    expect(crossed(limits, { ...holding, cores: 3 }, wanted)).toMatchObject({
      ...{ what: "cores", limit: 4, held: 3, wanted: 2 },
    });
    expect(crossed(limits, { ...holding, leases: 2 }, wanted)?.what).toBe("leases");
  });

  test.each([0, 1, 2, 3, 7, 100])("is shared among nodes without rest: %p", (whole) => {
    const shares = [0, 1, 2].map((rank) => shareOf(whole, { nodes: 3, rank }));
    expect(shares.reduce((sum, share) => sum + share, 0)).toBe(whole);
    expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1);
  });

  test("begins anew with the day or the month of UTC", () => {
    const at = Date.UTC(2026, 11, 31, 23, 59);
    expect(periodAt("day", at)).toEqual({
      ...{ fromMs: Date.UTC(2026, 11, 31), untilMs: Date.UTC(2027, 0, 1) },
    });
    expect(periodAt("month", at)).toEqual({
      ...{ fromMs: Date.UTC(2026, 11, 1), untilMs: Date.UTC(2027, 0, 1) },
    });
    expect(lastsMs(CORE_HOUR_NS, 4)).toBe(900_000);
    expect(lastsMs(1, 0)).toBe(Infinity);
  });
});

describe("a manager", () => {
  test("lets a user hold a core of one node, not one of each, and says where it is held", () => {
    const { reserve, quotas } = managing();
    const claims = { maxCores: 1 };
    expect(reserve("n1", held(1), claims)).toBeNull();
    const why = reserve("n2", held(7), claims)?.why;
    expect(why).toContain("ada may hold 1 core at a time in this cluster, by the token");
    expect(why).toContain("1 core is held (n1: 1 core), and 1 core is asked for");
    expect(why).toContain("release some, or ask for a token with more");
    quotas.unreserve("n1-i", 1);
    expect(reserve("n2", held(7), claims)).toBeNull();
  });

  test("says whether it is other leases that leave too little, or no wait helps", () => {
    const { reserve, spent } = managing({ ada: { coreHours: { hours: 1, period: "month" } } });
    const claims = { maxCores: 2, maxMemoryBytes: 200 * MIB };
    expect(reserve("n1", held(1, 3), claims)?.limit).toEqual({
      ...{ passes: false, shared: true, cores: 2 },
    });
    expect(reserve("n1", held(1, 1, "ada", 201), claims)?.limit?.passes).toBe(false);
    expect(reserve("n1", held(1, 1), claims)).toBeNull();
    expect(reserve("n2", held(1, 2), claims)?.limit?.passes).toBe(true);
    expect(reserve("n2", held(1, 1, "ada", 199), claims)?.limit?.passes).toBe(true);
    spent.coreNs = CORE_HOUR_NS;
    expect(reserve("n2", held(1, 2), claims)).toEqual({
      why: expect.stringContaining("core-hours"),
      limit: { passes: false, shared: true },
    });
  });

  test("keeps the limits of its table besides, of memory and of leases", () => {
    const { reserve, table } = managing({ ada: { maxMemoryBytes: 100 * MIB, maxLeases: 5 } });
    expect(reserve("n1", held(1))).toBeNull();
    expect(reserve("n2", held(1))?.why).toContain(
      "may hold 100 MiB at a time in this cluster, by the manager's table: 64 MiB are held (n1: 64 MiB)",
    );
    expect(reserve("n2", held(1))?.why).toContain("rfaas user set ada --max-memory");
    table.set("ada", { maxLeases: 1 });
    expect(reserve("n2", held(1))?.why).toContain("may hold 1 lease");
    table.delete("ada");
    expect(reserve("n2", held(1))).toBeNull();
  });

  test("counts a lease that is asked for again, or named again, once", () => {
    const { reserve, quotas } = managing();
    for (let i = 0; i < 3; i++) expect(reserve("n1", held(1, 2), { maxCores: 2 })).toBeNull();
    quotas.holds("n1-i", [held(1, 2), held(2, 3, "bob")]);
    expect(quotas.holdingOf("ada").total).toEqual({
      ...NOTHING,
      cores: 2,
      leases: 1,
      memoryBytes: 64 * MIB,
    });
    quotas.holds("n1-i", []);
    expect(quotas.holdingOf("ada")).toEqual({ total: NOTHING, nodes: [] });
  });

  test("counts what a node holds that is away until its leases are over", () => {
    const { reserve, quotas } = managing();
    reserve("n1", held(1), { maxCores: 1 });
    quotas.went("n1-i", 1_000);
    quotas.tick(60_000);
    expect(reserve("n2", held(1), { maxCores: 1 })).not.toBeNull();
    quotas.tick(61_000);
    expect(reserve("n2", held(1), { maxCores: 1 })).toBeNull();
  });

  test("that starts counts by its ledger what nodes hold that have not come, until they say it themselves or their leases are over", () => {
    const report = (lease: string, node: string, endedAtMs: number | null = null): UsageReport => ({
      ...{ lease, node, user: "ada", workers: 2, coresPerWorker: 2, startedAtMs: 0, endedAtMs },
      ...{ reason: null, usage: { ...NO_USAGE } },
    });
    const clock = new TestClock();
    const limits = { all: () => new Map([["ada", { maxCores: 9 }]]), onChange() {} };
    const open = () => [report("n1-i/1", "n1"), report("n1-i/2", "n1"), report("n2-i/7", "n2")];
    const options = { limits, usedCoreNs: () => 0, open, graceMs: 60_000 };
    const { quotas } = new QuotaDesk(options, clock);
    const cores = () => quotas.holdingOf("ada").total.cores;
    expect(cores()).toBe(12);
    quotas.came("n1-i", "n1");
    expect([cores(), quotas.placeOf("n1-i")]).toEqual([12, { nodes: 1, rank: 0 }]);
    quotas.holds("n1-i", [held(2, 4)]);
    expect(cores()).toBe(8);
    clock.pass(61_000);
    expect(cores()).toBe(4);
  });

  test("that cannot read its ledger starts all the same", () => {
    const limits = { all: () => new Map(), onChange() {} };
    const open = () => {
      throw new Error("the disk fails");
    };
    const options = { limits, usedCoreNs: () => 0, open, graceMs: 60_000 };
    expect(new QuotaDesk(options, new TestClock()).quotas.users()).toEqual([]);
  });

  test("refuses when core-hours are used up, and says until when", () => {
    const limits: Limits = { coreHours: { hours: 2, period: "month" } };
    const { reserve, spent, quotas } = managing({ ada: limits });
    expect(reserve("n1", held(1, 4))).toBeNull();
    expect(quotas.wordFor("n1-i", "ada", WALL_MS)!.spentInMs).toBeUndefined();
    spent.coreNs = 2 * CORE_HOUR_NS - 4 * 10e9;
    // Four cores use up forty core-seconds in ten seconds.
    expect(quotas.wordFor("n1-i", "ada", WALL_MS)!.spentInMs).toBeCloseTo(10_000, 3);
    spent.coreNs = 2 * CORE_HOUR_NS;
    expect(quotas.wordFor("n2-i", "ada", WALL_MS)).toMatchObject({
      spentInMs: 0,
      why: expect.stringContaining("2.00 of the 2 core-hours of this month; wait until 2026-04-01"),
    });
    expect(reserve("n2", held(2))?.why).toContain("rfaas user set ada --core-hours");
  });

  test("keeps the core-hours of a token and those of the table, whichever are used up first", () => {
    const day: Limits = { coreHours: { hours: 8, period: "day" } };
    const month: Limits = { coreHours: { hours: 100, period: "month" } };
    for (const [table, claims] of [
      [day, month],
      [month, day],
    ] as const) {
      const { reserve, spent } = managing({ ada: table });
      spent.coreNs = 7 * CORE_HOUR_NS;
      expect(reserve("n1", held(1, 4), claims)).toBeNull();
      spent.coreNs = 8 * CORE_HOUR_NS;
      expect(reserve("n1", held(2, 4), claims)?.why).toContain(
        "8.00 of the 8 core-hours of this day",
      );
    }
    const { reserve, spent } = managing({ ada: month });
    spent.coreNs = 100 * CORE_HOUR_NS;
    const large: Limits = { coreHours: { hours: 500, period: "day" } };
    expect(reserve("n1", held(1, 4), large)?.why).toContain("core-hours of this month");
  });

  test("tells nodes of users who have no limit any more, once, and of limits that only their tokens have", () => {
    const { quotas, reserve, table } = managing({ ada: { maxCores: 1 } });
    expect(quotas.users()).toEqual(["ada"]);
    table.delete("ada");
    quotas.limitsChanged();
    expect(quotas.takeChanged()).toEqual(["ada"]);
    expect(quotas.wordFor("n1-i", "ada", WALL_MS)).toEqual({
      ...{ user: "ada", limits: {}, allowance: {} },
    });
    quotas.limitsChanged();
    expect(quotas.takeChanged()).toEqual([]);
    // What is refused tells of a limit, too.
    expect(reserve("n1", held(1, 2, "bob"), { maxCores: 1 })).not.toBeNull();
    expect(quotas.takeChanged()).toEqual(["bob"]);
    expect(quotas.wordFor("n2-i", "bob", WALL_MS)!.limits).toEqual({ maxCores: 1 });
  });

  test("gives nodes allowances that add up to the quota with what is held", () => {
    const { reserve, quotas } = managing({ ada: { maxCores: 10 } });
    reserve("n1", held(1, 4));
    reserve("n2", held(1, 1));
    const words = ["n1", "n2", "n3"].map((name) => quotas.wordFor(`${name}-i`, "ada", WALL_MS)!);
    expect(words.map(({ allowance }) => allowance.maxCores)).toEqual([4 + 2, 1 + 2, 1]);
  });
});

describe("a node", () => {
  const ada: Identity = { user: "ada", maxCores: 4, untilMs: null };
  const word = { nodes: 2, rank: 0, first: true } as const;
  const wanted = (cores: number) => ({ cores, memoryBytes: MIB });

  function node() {
    const clock = new TestClock();
    const quota = new ClusterQuota(clock);
    const said: unknown[] = [];
    const manager: QuotaManager = {
      reserve: async (one) => void said.push(one.lease),
      holds: (one) => void said.push(["holds", one.lease]),
      unreserve: (lease) => void said.push(["unreserve", lease]),
      holdings: (leases) => void said.push(leases.map(({ lease }) => lease)),
    };
    return { quota, clock, said, manager };
  }

  test("without a manager counts for itself, as far as the token says", () => {
    const { quota } = node();
    expect(quota.refusal(ada, wanted(4))).toBeNull();
    quota.take(1, "ada", wanted(4));
    expect(quota.refusal(ada, wanted(1))?.why).toContain("at a time on this node");
    quota.giveBack(1);
    expect(quota.refusal(ada, wanted(4))).toBeNull();
  });

  test("asks the manager while it is there, tells it what is over, and all when it comes back", async () => {
    const { quota, manager, said } = node();
    quota.counts(manager);
    quota.word({ ...word, users: [] });
    quota.take(1, "ada", wanted(2));
    expect(await quota.reserve(1, ada)).toBeNull();
    quota.take(2, "bob", wanted(1));
    expect(await quota.reserve(2, { user: "bob", maxCores: null, untilMs: null })).toBeNull();
    quota.giveBack(1);
    quota.counts(undefined);
    quota.counts(manager);
    expect(said).toEqual([[], 1, ["holds", 2], ["unreserve", 1], [2]]);
  });

  test("says what the manager says, and not what it says of other things", async () => {
    const { quota, manager } = node();
    quota.word({ ...word, users: [] });
    quota.take(1, "ada", wanted(1));
    const failing = (code: string): QuotaManager => ({
      ...manager,
      reserve: async () => {
        throw new RequestRefused(code, "ada may hold less");
      },
    });
    quota.counts(failing("RFAAS_TOKEN_LIMIT"));
    expect((await quota.reserve(1, ada))?.why).toBe("ada may hold less");
    quota.counts(failing("RFAAS_INTERNAL"));
    expect(await quota.reserve(1, ada)).toBeNull();
  });

  test("keeps to its allowance while the manager is away, and says so", () => {
    const { quota, manager } = node();
    quota.counts(manager);
    const users = [{ user: "ada", limits: { maxCores: 4 }, allowance: { maxCores: 3 } }];
    quota.word({ ...word, users });
    expect(quota.refusal(ada, wanted(4))).toBeNull();
    quota.counts(undefined);
    expect(quota.refusal(ada, wanted(3))).toBeNull();
    expect(quota.refusal(ada, wanted(4))?.why).toContain(
      "ada may hold 4 cores at a time in this cluster, and while its manager is away 3 cores of that on this node",
    );
  });

  test("says that what is too much for it alone while the manager is away passes, unless it is too much anyhow", () => {
    const { quota } = node();
    quota.word({ ...word, users: [] });
    expect(quota.refusal(ada, wanted(3))?.limit).toMatchObject({ passes: true, shared: false });
    expect(quota.refusal(ada, wanted(5))?.limit).toMatchObject({ passes: false, shared: true });
  });

  test("hands on what the manager says of a limit, and of one of the version before that it does not", async () => {
    const { quota, manager } = node();
    quota.word({ ...word, users: [] });
    quota.take(1, "ada", wanted(1));
    for (const limit of [{ passes: true, shared: true, cores: 4 }, undefined]) {
      const over = new RequestRefused("RFAAS_TOKEN_LIMIT", "ada may hold less", { limit });
      quota.counts({ ...manager, reserve: () => Promise.reject(over) });
      expect(await quota.reserve(1, ada)).toEqual({ why: "ada may hold less", limit });
    }
  });

  test("keeps to its share for a user of whom the manager has said nothing", () => {
    const { quota } = node();
    quota.word({ ...word, users: [] });
    expect(quota.refusal(ada, wanted(2))).toBeNull();
    expect(quota.refusal(ada, wanted(3))?.why).toContain("2 cores of that on this node");
    expect(quota.refusal({ user: "eve", maxCores: null, untilMs: null }, wanted(99))).toBeNull();
  });

  test("keeps to its share of what the token says besides the manager's word", () => {
    const { quota } = node();
    const users = [{ user: "ada", limits: { maxLeases: 9 }, allowance: { maxLeases: 9 } }];
    quota.word({ ...word, users });
    expect(quota.refusal(ada, wanted(2))).toBeNull();
    expect(quota.refusal(ada, wanted(3))?.why).toContain("2 cores of that on this node");
  });

  test("forgets the limits of a user who has none any more", async () => {
    const { quota, manager, said } = node();
    const eve: Identity = { user: "eve", maxCores: null, untilMs: null };
    const why = "eve has no core-hours left";
    const limits: Limits = { coreHours: { hours: 1, period: "day" } };
    quota.word({ ...word, users: [{ user: "eve", limits, allowance: {}, spentInMs: 0, why }] });
    expect(quota.refusal(eve, wanted(1))?.why).toBe(why);
    quota.word({ ...word, first: false, users: [{ user: "eve", limits: {}, allowance: {} }] });
    expect(quota.refusal(eve, wanted(1))).toBeNull();
    quota.counts(manager);
    quota.take(1, "eve", wanted(1));
    expect(await quota.reserve(1, eve)).toBeNull();
    expect(said).toEqual([[], ["holds", 1]]);
  });

  test("tells a slow manager of what it has given by itself, which that may yet refuse", async () => {
    const { quota, manager, said } = node();
    quota.word({ ...word, users: [] });
    let fail = (_: Error): void => {};
    quota.counts({ ...manager, reserve: () => new Promise((_, reject) => (fail = reject)) });
    for (const lease of [1, 2]) {
      quota.take(lease, "ada", wanted(1));
      const reserved = quota.reserve(lease, ada);
      // The second one ends meanwhile.
      if (lease === 2) quota.giveBack(lease);
      fail(new Error("no answer within 250 ms"));
      expect(await reserved).toBeNull();
    }
    expect(said).toEqual([[], ["holds", 1], ["unreserve", 2]]);
  });

  test("goes by the token when its manager is lost before it has said what the node may give", async () => {
    const { quota, manager } = node();
    quota.counts({
      ...manager,
      reserve: () => Promise.reject(new Error("the connection is lost")),
    });
    expect(quota.refusal(ada, wanted(5))?.why).toContain("at a time on this node");
    quota.take(1, "ada", wanted(4));
    expect(await quota.reserve(1, ada)).toBeNull();
  });

  test("ends leases whose share of core-hours is used up while the manager is away", () => {
    const { quota, clock, manager } = node();
    const ended: [string, number][] = [];
    quota.onSpent((user, inMs) => ended.push([user, inMs]));
    quota.counts(manager);
    quota.take(1, "ada", wanted(2));
    const limits: Limits = { coreHours: { hours: 1, period: "day" } };
    const users = [{ user: "ada", limits, allowance: {}, leftCoreNs: 2 * 60e9 }];
    quota.word({ ...word, users });
    quota.counts(undefined);
    clock.pass(29_000);
    expect(ended).toEqual([]);
    clock.pass(2_000);
    expect(ended[0]![0]).toBe("ada");
    expect(ended[0]![1]).toBeLessThanOrEqual(30_000);
    clock.pass(60_000);
    expect(quota.refusal({ ...ada, maxCores: null }, wanted(1))?.why).toContain("used up");
  });
});

test("allowances of nodes that know nothing of each other add up to the quota", () => {
  const everywhere = { cores: 7, memoryBytes: 0, leases: 3 };
  const here = [5, 2, 0].map((cores) => ({ cores, memoryBytes: 0, leases: 1 }));
  const all = here.map((one, rank) =>
    allowanceOf({ maxCores: 16 }, { here: one, everywhere }, { nodes: 3, rank }),
  );
  expect(all.reduce((sum, { maxCores }) => sum + maxCores!, 0)).toBe(16);
});

test("what a user has used since then is on the ledger, also of leases that began before, as far as they lie in the time", () => {
  using scratch = new Scratch();
  using ledger = Ledger.open(scratch.join("ledger.sqlite"));
  const lease = (id: string, startedAtMs: number, endedAtMs: number | null, seconds: number) => ({
    ...{ lease: `i/${id}`, node: "n1", user: "ada", workers: 2, startedAtMs, endedAtMs },
    reason: endedAtMs === null ? null : "released",
    usage: {
      allocationCoreNs: 2 * seconds * 1e9,
      executionNs: 0,
      pollingNs: 0,
      calls: 0,
      bytes: 0,
    },
  });
  ledger.record([
    lease("1", 0, 5_000, 5),
    lease("2", 8_000, 14_000, 6),
    lease("3", 12_000, null, 3),
    { ...lease("4", 12_000, null, 3), user: "bob" },
  ]);
  expect(ledger.usedCoreNs("ada", 10_000)).toBe(2 * (4 + 3) * 1e9);
  expect(ledger.usedCoreNs("ada", 0)).toBe(2 * (5 + 6 + 3) * 1e9);
  expect(ledger.usedCoreNs("nobody", 0)).toBe(0);
});
