/**
 * `bun test/chaos/run.ts [--minutes 60] [--seed N] [--fault NAME].. [--keep FOLDER] [--standby | --no-previous]`: exits with 1 when the history
 * breaks a rule, and says where its page is. With --standby a second manager stands by over an etcd, which the version before this one does not
 * know. Needs root and the built executable.
 */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { PREVIOUS, lackingForPrevious, previousExecutable } from "../support/previous.ts";
import { whyNoEtcd } from "../support/etcd.ts";
import { RFAAS } from "../support/executable.ts";
import { chaos } from "./run-chaos.ts";
import { check } from "./checker.ts";
import { pageOf, someOfEach } from "./page.ts";
import { lackingForRun } from "./machine/network.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "60" },
    seed: { type: "string", default: String(Date.now() % 2 ** 31) },
    fault: { type: "string", multiple: true },
    keep: { type: "string" },
    "no-previous": { type: "boolean", default: false },
    standby: { type: "boolean", default: false },
  },
});
const { standby } = values;
const lacking = lackingForRun() ?? (standby ? whyNoEtcd() : undefined);
if (lacking !== undefined) {
  console.error(`SKIPPED: a run needs ${lacking}`);
  process.exit(0);
}
const seed = Number(values.seed);
console.error(`seed ${seed}`);
const lackingPrevious = lackingForPrevious();
if (lackingPrevious !== undefined) console.error(`SKIPPED: upgrades need ${lackingPrevious}`);
const alone = standby || values["no-previous"] || lackingPrevious !== undefined;
const previous = alone ? {} : { [PREVIOUS]: await previousExecutable() };
const { history, faults } = await chaos({
  ...{ seed, seconds: 60 * Number(values.minutes), faults: values.fault },
  executables: { ...previous, this: RFAAS },
  standby,
  keep: values.keep,
  onFault: (count, what) => console.error(`${count}: ${what}`),
});
const violations = check(history);
const calls = history.filter(({ e }) => e === "call").length;
const took = history.find((each) => each.e === "takeovers")?.count ?? 0;
console.log(
  `seed ${seed}: ${faults} faults, ${calls} calls, ${took} terms of managers, ${violations.length} violations`,
);
for (const { rule, what } of someOfEach(violations)) console.log(`  ${rule}: ${what}`);
if (violations.length > 0) {
  const title = `chaos, seed ${seed}: ${faults} faults, ${calls} calls`;
  const folder = values.keep ?? mkdtempSync(join(tmpdir(), "chaos-"));
  const page = join(folder, "page.html");
  writeFileSync(page, pageOf(history, violations, title));
  const lines = history.map((each) => `${JSON.stringify(each)}\n`);
  writeFileSync(join(folder, "history.jsonl"), lines.join(""));
  console.log(`read ${page}; the whole history is beside it`);
  process.exitCode = 1;
}
