/**
 * Clusters of real processes under faults: managers, four nodes and twelve clients are killed, stopped, signalled, cut off, drained, and run out of
 * disk and descriptors, by a seed of its own each time. One has processes of this version and of the one before it; another has a manager that
 * stands by, over an etcd. `run.ts` goes on for longer.
 */
import { expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { whyNoEtcd } from "../support/etcd.ts";
import { RFAAS } from "../support/executable.ts";
import { PREVIOUS, lackingForPrevious, previousExecutable } from "../support/previous.ts";
import { check } from "./checker.ts";
import type { Happened } from "./history.ts";
import { lackingForRun } from "./machine/network.ts";
import { pageOf } from "./page.ts";
import { type ChaosOptions, chaos } from "./run-chaos.ts";

const SECONDS = 70;
/** With the build of the version before this one, and the calm at the end. */
const LIMIT_MS = 600_000;
const MIN_FAULTS = 35;

const lacking = lackingForRun();
if (lacking !== undefined) console.warn(`skipped: chaos needs ${lacking}`);
const lackingPrevious = lackingForPrevious();
if (lackingPrevious !== undefined)
  console.warn(`the version before this one takes no part: it needs ${lackingPrevious}`);
const noEtcd = whyNoEtcd();
if (noEtcd !== undefined) console.warn(`skipped, where a manager stands by: ${noEtcd}`);

/** A run, in which no rule may be broken. */
async function held(options: Omit<ChaosOptions, "seed">, again: string): Promise<Happened[]> {
  const seed = Date.now() % 2 ** 31;
  const { history, faults } = await chaos({ seed, seconds: SECONDS, ...options });
  const violations = check(history);
  if (violations.length > 0) {
    const page = join(mkdtempSync(join(tmpdir(), "chaos-")), "page.html");
    writeFileSync(page, pageOf(history, violations, `chaos, seed ${seed}: ${faults} faults`));
    console.error(
      `read ${page}; bun test/chaos/run.ts --minutes 1 --seed ${seed} ${again} tries such faults again`,
    );
  }
  expect(violations.map(({ rule, what }) => `${rule}: ${what}`)).toEqual([]);
  expect(faults).toBeGreaterThan(MIN_FAULTS);
  expect(history.filter(({ e }) => e === "end").length).toBeGreaterThan(1000);
  return history;
}

test.skipIf(lacking !== undefined)(
  "under faults of all kinds, every call has one outcome and no more effects than it says, bills are exact, and nothing is left",
  async () => {
    const previous =
      lackingPrevious === undefined ? { [PREVIOUS]: await previousExecutable() } : {};
    await held({ executables: { ...previous, this: RFAAS } }, "");
  },
  LIMIT_MS,
);

test.skipIf(lacking !== undefined || noEtcd !== undefined)(
  "it is so, too, where a manager takes over from another one again and again, and both have the same bills",
  async () => {
    const history = await held({ executables: { this: RFAAS }, standby: true }, "--standby");
    const terms = history.find((each) => each.e === "takeovers")?.count ?? 0;
    // The first one is no takeover.
    expect(terms).toBeGreaterThan(1);
  },
  LIMIT_MS,
);
