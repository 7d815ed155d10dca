/** Bills that no node can have: what a stolen token of a node could have billed otherwise. */
import { describe, expect, test } from "bun:test";
import { Plausible, putRight, whyImplausible } from "../../src/manager/ledger/plausible.ts";
import type { UsageReport } from "../../src/protocol/manager-messages.ts";
import type { Usage } from "../../src/protocol/usage.ts";

const HOUR_MS = 3_600_000;
const HOUR_NS = 3.6e12;
const DAY_MS = 24 * HOUR_MS;
const NOW_MS = Date.UTC(2026, 5, 1);
const CORES = 8;

/** Of 4 cores for an hour, an hour ago. */
const bill = (usage: Partial<Usage> = {}, more: Partial<UsageReport> = {}): UsageReport => ({
  ...{ lease: "run/1", node: "n1", user: "ada", workers: 2, coresPerWorker: 2 },
  ...{ startedAtMs: NOW_MS - 2 * HOUR_MS, endedAtMs: NOW_MS - HOUR_MS, reason: "released" },
  usage: {
    ...{ allocationCoreNs: 4 * HOUR_NS, executionNs: 3 * HOUR_NS, pollingNs: HOUR_NS },
    ...{ calls: 1e9, bytes: 1e12 },
    ...usage,
  },
  ...more,
});

describe("a bill", () => {
  test("of what the node's cores can have done is taken as it is", () => {
    for (const possible of [
      bill(),
      bill({}, { endedAtMs: null, reason: null }),
      bill({ executionNs: 20 * HOUR_NS }),
      // Clocks that were set meanwhile, and one that goes ahead.
      bill({ allocationCoreNs: HOUR_NS }, { endedAtMs: NOW_MS - 2.5 * HOUR_MS }),
      bill({}, { endedAtMs: NOW_MS + HOUR_MS / 2 }),
      bill({}, { startedAtMs: NOW_MS - 399 * DAY_MS, endedAtMs: NOW_MS - 398 * DAY_MS }),
    ]) {
      expect(whyImplausible(possible, CORES)).toBeUndefined();
      expect(putRight(possible, NOW_MS)).toEqual({ report: possible, wrong: [] });
    }
  });

  const IMPOSSIBLE: [what: string, bill: UsageReport, why: string][] = [
    [
      "of more cores than the node has",
      bill({}, { workers: 5 }),
      "it has 10 cores, and the node 8",
    ],
    ["of endless computing", bill({ executionNs: 1e20 }), "no machine has that much CPU time"],
    ["of endless polling", bill({ pollingNs: 1e20 }), "no machine has that much CPU time"],
  ];
  test.each(IMPOSSIBLE)("%s is not taken", (_, impossible, why) => {
    expect(whyImplausible(impossible, CORES)).toContain(why);
  });

  const ENDED_MS = NOW_MS - HOUR_MS;
  const WRONG_CLOCKS: [what: string, times: [startedAtMs: number, endedAtMs: number | null]][] = [
    ["was set back during the lease", [NOW_MS + 2 * HOUR_MS, ENDED_MS]],
    ["began at no time at all", [0, ENDED_MS]],
    ["is years behind", [0, HOUR_MS]],
    ["is years ahead", [NOW_MS + 800 * DAY_MS, NOW_MS + 801 * DAY_MS]],
    ["is hours ahead, of a lease that goes on", [NOW_MS + 5 * HOUR_MS, null]],
  ];
  test.each(WRONG_CLOCKS)("of a node whose clock %s keeps its sums", (_, [startedAtMs, ended]) => {
    const told = bill({}, { startedAtMs, endedAtMs: ended });
    const { report, wrong } = putRight(told, NOW_MS);
    const endedAtMs = ended === null || ended === ENDED_MS ? ended : NOW_MS;
    // Four cores were held for an hour.
    const began = (endedAtMs ?? NOW_MS) - HOUR_MS;
    expect(report).toEqual({ ...told, startedAtMs: began, endedAtMs });
    expect(wrong).toEqual(["its begin and end are of a clock that is wrong"]);
    expect(whyImplausible(report, CORES)).toBeUndefined();
  });

  test("of endless calls or bytes, which a function can have forged, loses those and nothing else", () => {
    for (const forged of [{ calls: 2 ** 53 }, { bytes: 1e21 }, { calls: 1e21, bytes: 1e21 }]) {
      const told = bill(forged);
      const { report, wrong } = putRight(told, NOW_MS);
      const { calls, bytes, ...rest } = report.usage;
      expect({ ...told.usage, ...rest }).toEqual(told.usage);
      expect(calls).toBeLessThanOrEqual(2 * 2 * HOUR_NS);
      expect(bytes).toBeLessThanOrEqual(calls * 2 ** 33);
      expect(calls).toBeGreaterThanOrEqual(1e9);
      expect(wrong).toEqual([expect.stringContaining("cannot have answered so many calls")]);
      expect(whyImplausible(report, CORES)).toBeUndefined();
    }
  });

  test("of a lease that is older than 400 days is of so many", () => {
    const startedAtMs = NOW_MS - 500 * DAY_MS;
    const told = bill({ allocationCoreNs: 4 * 500 * DAY_MS * 1e6 }, { startedAtMs });
    const { report, wrong } = putRight(told, NOW_MS);
    expect(report.usage.allocationCoreNs).toBe(4 * 400 * DAY_MS * 1e6);
    expect(wrong[0]).toContain("400 days at most");
  });
});

describe("the bills of a node", () => {
  const began = () => {
    const log: string[] = [];
    const clock = { wallMs: () => NOW_MS };
    return { log, plausible: new Plausible((_, message) => log.push(message), clock) };
  };

  test("are taken without those that cannot be, of which its operator hears once", () => {
    const { log, plausible } = began();
    const forged = bill({ executionNs: 1e20 }, { lease: "run/2", user: "bob" });
    for (let i = 0; i < 2; i++)
      expect(plausible.of("n1", CORES, [bill(), forged])).toEqual([bill()]);
    expect(log).toEqual([
      "a bill of node n1 for lease run/2 of bob, over 14400 core seconds, is not taken: no machine has that much CPU time; see whether the clock of that machine is right, and who has the node's token",
    ]);
  });

  test("are taken as they can be, of which its operator hears once", () => {
    const { log, plausible } = began();
    const ahead = bill({}, { endedAtMs: NOW_MS + 2 * HOUR_MS });
    for (let i = 0; i < 2; i++)
      expect(plausible.of("n1", CORES, [ahead])).toEqual([{ ...ahead, endedAtMs: NOW_MS }]);
    expect(log).toEqual([expect.stringMatching(/is taken as it can be: its begin and end are/)]);
  });

  test("are taken as often as they come, and no more than all of its cores can have held", () => {
    const { log, plausible } = began();
    const days = (lease: number): UsageReport =>
      bill({ allocationCoreNs: 4 * 400 * DAY_MS * 1e6 }, { lease: `run/${lease}` });
    // Two leases at a time fill it.
    for (let again = 0; again < 10; again++)
      expect(plausible.of("n1", CORES, [days(1), days(2)])).toHaveLength(2);
    expect(log).toEqual([expect.any(String), expect.any(String)]);
    const many = Array.from({ length: 100 }, (_, i) => days(i));
    expect(plausible.of("n1", CORES, many)).toHaveLength(4);
    expect(log.at(-1)).toContain("its node's leases have held more cores than the node has");
  });

  test("are no more for a node that was announced as several runs, which have the same cores", () => {
    const { plausible } = began();
    const run = (number: number): UsageReport =>
      bill({ allocationCoreNs: 4 * 400 * DAY_MS * 1e6 }, { lease: `run${number}/0` });
    const taken = Array.from({ length: 100 }, (_, i) => plausible.of("n1", CORES, [run(i)]));
    expect(taken.flat()).toHaveLength(4);
    // One that says it has fewer cores by now takes nothing away, and gives nothing.
    expect(plausible.of("n1", CORES / 2, [run(0)])).toHaveLength(1);
    expect(plausible.of("n1", CORES / 2, [run(101)])).toEqual([]);
    // Another node has its own.
    expect(plausible.of("n2", CORES, [run(1)])).toHaveLength(1);
  });
});
