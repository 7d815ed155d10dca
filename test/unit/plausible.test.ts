/** Bills that no node can have: what a stolen token of a node could have billed otherwise. */
import { describe, expect, test } from "bun:test";
import { Plausible, whyImplausible } from "../../src/manager/ledger/plausible.ts";
import type { UsageReport } from "../../src/protocol/manager-messages.ts";
import type { Usage } from "../../src/protocol/usage.ts";

const HOUR_MS = 3_600_000;
const HOUR_NS = 3.6e12;
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
  test("of what the node's cores can have done in the time of the lease is taken", () => {
    for (const possible of [
      bill(),
      bill({}, { endedAtMs: null, reason: null }),
      bill({ executionNs: 20 * HOUR_NS }),
      // Clocks that were set meanwhile, and one that goes ahead.
      bill({ allocationCoreNs: HOUR_NS }, { endedAtMs: NOW_MS - 2.5 * HOUR_MS }),
      bill({}, { endedAtMs: NOW_MS + HOUR_MS / 2 }),
    ])
      expect(whyImplausible(possible, CORES, NOW_MS)).toBeUndefined();
  });

  const IMPOSSIBLE: [what: string, bill: UsageReport, why: string][] = [
    [
      "of more cores than the node has",
      bill({}, { workers: 5 }),
      "it has 10 cores, and the node 8",
    ],
    ["of the future", bill({}, { startedAtMs: NOW_MS + 2 * HOUR_MS }), "it has not begun yet"],
    ["that ends in the future", bill({}, { endedAtMs: NOW_MS + 2 * HOUR_MS }), "not ended yet"],
    ["of years ago", bill({}, { startedAtMs: Date.UTC(2020) }), "it began too long ago"],
    ["longer than its lease", bill({ allocationCoreNs: 9 * HOUR_NS }), "for longer than it was"],
    ["of endless computing", bill({ executionNs: 1e20 }), "no machine has that much CPU time"],
    ["of endless polling", bill({ pollingNs: 1e20 }), "no machine has that much CPU time"],
    ["of endless calls", bill({ calls: 1e15 }), "no worker answers so many calls"],
    ["of endless bytes", bill({ bytes: 1e21 }), "no call has so many bytes"],
  ];
  test.each(IMPOSSIBLE)("%s is not taken", (_, impossible, why) => {
    expect(whyImplausible(impossible, CORES, NOW_MS)).toContain(why);
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
    const forged = bill({ calls: 1e15 }, { lease: "run/2", user: "bob" });
    for (let i = 0; i < 2; i++)
      expect(plausible.of("run", CORES, [bill(), forged])).toEqual([bill()]);
    expect(log).toEqual([
      "a bill of node n1 for lease run/2 of bob, over 14400 core seconds, is not taken: no worker answers so many calls; see whether the clock of that machine is right, and who has the node's token",
    ]);
  });

  test("are taken as often as they come, and no more than all of its cores can have held", () => {
    const { log, plausible } = began();
    const hour = (lease: number): UsageReport => bill({}, { lease: `run/${lease}` });
    // Two leases at a time fill it.
    for (let again = 0; again < 10; again++)
      expect(plausible.of("run", CORES, [hour(1), hour(2)])).toHaveLength(2);
    expect(log).toEqual([]);
    const many = Array.from({ length: 100 }, (_, i) => hour(i));
    expect(plausible.of("run", CORES, many).length).toBeLessThan(20);
    expect(log.at(-1)).toContain("its node's leases have held more cores than the node has");
    // Another run of a node has its own.
    expect(plausible.of("other", CORES, [hour(1)])).toHaveLength(1);
  });
});
