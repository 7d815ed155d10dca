/**
 * A cluster of real processes under faults: manager, four nodes and twelve clients, of this version and of the one before it, are killed, stopped,
 * signalled, cut off, drained, and run out of disk and descriptors, by a seed of its own each time. `run.ts` goes on for longer.
 */
import { expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RFAAS } from "../support/executable.ts";
import { PREVIOUS, lackingForPrevious, previousExecutable } from "../support/previous.ts";
import { check } from "./checker.ts";
import { lackingForRun } from "./machine/network.ts";
import { pageOf } from "./page.ts";
import { chaos } from "./run-chaos.ts";

const SECONDS = 60;
/** With the build of the version before this one, and the calm at the end. */
const LIMIT_MS = 600_000;
const MIN_FAULTS = 60;

const lacking = lackingForRun();
if (lacking !== undefined) console.warn(`skipped: chaos needs ${lacking}`);
const lackingPrevious = lackingForPrevious();
if (lackingPrevious !== undefined)
  console.warn(`the version before this one takes no part: it needs ${lackingPrevious}`);

test.skipIf(lacking !== undefined)(
  "under faults of all kinds, every call has one outcome and no more effects than it says, bills are exact, and nothing is left",
  async () => {
    const seed = Date.now() % 2 ** 31;
    const previous =
      lackingPrevious === undefined ? { [PREVIOUS]: await previousExecutable() } : {};
    const executables = { ...previous, this: RFAAS };
    const { history, faults } = await chaos({ seed, seconds: SECONDS, executables });
    const violations = check(history);
    if (violations.length > 0) {
      const page = join(mkdtempSync(join(tmpdir(), "chaos-")), "page.html");
      writeFileSync(page, pageOf(history, violations, `chaos, seed ${seed}: ${faults} faults`));
      console.error(
        `read ${page}; bun test/chaos/run.ts --minutes 1 --seed ${seed} tries such faults again`,
      );
    }
    expect(violations.map(({ rule, what }) => `${rule}: ${what}`)).toEqual([]);
    expect(faults).toBeGreaterThan(MIN_FAULTS);
    expect(history.filter(({ e }) => e === "end").length).toBeGreaterThan(1000);
  },
  LIMIT_MS,
);
