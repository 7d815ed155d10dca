/**
 * A smaller cluster of real processes than that of `test/chaos`, on a machine of its own: cables are slow, and the machine's clock jumps by hours,
 * while hosts, clients and the manager are killed and cables cut.
 */
import { expect, test } from "bun:test";
import { check } from "../chaos/checker.ts";
import { chaos } from "../chaos/run-chaos.ts";
import { lackingForRun } from "../chaos/machine/network.ts";
import { RFAAS } from "../support/executable.ts";

const SECONDS = Number(process.env["RFAAS_TEST_CHAOS_SECONDS"] ?? 20);
const LIMIT_MS = 600_000 + 1000 * SECONDS;
const CLIENTS = 4;
/** An emulated processor that is busy. */
const SLOWNESS = 6;
const FAULTS = [
  ...["slow cable", "clock jumps", "clock jumps", "partition"],
  ...["kill host", "kill client", "kill manager"],
];
/** What lasts by the clock is not what it seems; cores that are held are compared with what has passed. */
const BY_CLOCK = "a bill has the cores that were held";

/** What is shown of a history that breaks a rule. */
const TELLING = ["fault", "start", "exit", "calm", "client", "ask", "lease", "no-lease", "stuck"];

const maySetClock = process.env["RFAAS_TEST_MAY_SET_CLOCK"] === "1";
if (!maySetClock) console.error("skipped: this machine's clock is not for tests to set");

test.skipIf(!maySetClock)(
  "with slow cables and a clock that jumps by hours, every call has one outcome and no more effects than it says, bills are of the time that passed, and nothing is left",
  async () => {
    expect(lackingForRun()).toBeUndefined();
    const seed = Number(process.env["RFAAS_TEST_SEED"] ?? Date.now() % 2 ** 31);
    const began = performance.now();
    const { history, faults } = await chaos({
      ...{ seed, seconds: SECONDS, executables: { this: RFAAS }, faults: FAULTS },
      ...{ setsClock: true, clients: CLIENTS, slowness: SLOWNESS },
    });
    const lastedMs = performance.now() - began;
    const first = history.find(({ e }) => e === "fault")?.t ?? 0;
    // Who does not start at once before there are faults is started again.
    const broken = check(history.filter(({ e, t }) => e !== "exit" || t > first))
      .filter(({ rule }) => rule !== BY_CLOCK)
      .map(({ rule, what }) => `${rule}: ${what}`);
    const bills = history.filter((each) => each.e === "bill");
    for (const { lease, coreNs, workers } of bills)
      if (coreNs < 0 || coreNs > workers * lastedMs * 1e6)
        broken.push(`lease ${lease} is billed ${coreNs / 1e6} ms in a run of ${lastedMs} ms`);
    const jumps = history.filter((each) => each.e === "fault" && each.fault === "clock jumps");
    console.error(`seed ${seed}: ${faults} faults, ${jumps.length} of them of the clock`);
    if (broken.length > 0)
      for (const each of history) if (TELLING.includes(each.e)) console.error(JSON.stringify(each));
    expect(broken).toEqual([]);
    expect(jumps.length).toBeGreaterThan(3);
    expect(history.filter(({ e }) => e === "end").length).toBeGreaterThan(50);
  },
  LIMIT_MS,
);
