/**
 * Fuzzes parsers of TypeScript by hand: `bun test/fuzz/run.ts`, or `bun test/fuzz/run.ts elf wasm --seconds 600 --inputs 10000000 --seed 7`.
 * `--save` puts the inputs that take ways of their own into the corpus; `--replay BASE64` tries one input; `--unreached` lists the
 * branches that none has taken. Exits with 1 when an input was found that does what it should not.
 */
import { parseArgs } from "node:util";
import { fuzz, replayOf } from "./engine/campaign.ts";
import { TARGETS } from "./targets.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "600" },
    inputs: { type: "string", default: "10000000" },
    seed: { type: "string" },
    replay: { type: "string" },
    save: { type: "boolean", default: false },
    unreached: { type: "boolean", default: false },
  },
});
const names = positionals.length > 0 ? positionals : Object.keys(TARGETS);
for (const name of names)
  if (!(name in TARGETS)) {
    console.error(`there is no target "${name}"; there are ${Object.keys(TARGETS).join(", ")}`);
    process.exit(2);
  }

let failed = false;
for (const target of names) {
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
  const report = await fuzz({
    ...{ target, seed, save: values.save, maxInputs: Number(values.inputs) },
    ...(values.replay === undefined
      ? { seconds: Number(values.seconds) }
      : { seconds: 0, inputs: [values.replay] }),
  });
  const { inputs, seconds, branches, excepted, unreached, kept, finding } = report;
  const reached = branches - unreached.length;
  console.log(
    `${target}: seed ${seed}, ${inputs} inputs in ${seconds.toFixed(0)} s (${Math.round(inputs / seconds)} a second), ${kept} kept, ${reached} of ${branches} branches (${((100 * reached) / branches).toFixed(1)} %), ${excepted} more excepted`,
  );
  if (values.unreached) for (const place of unreached) console.log(`  not taken: ${place}`);
  if (!finding) continue;
  failed = true;
  console.log(
    `FOUND in ${target}: ${finding.what}\ntry it again: ${replayOf(target, finding.input)}`,
  );
}
process.exit(failed ? 1 : 0);
