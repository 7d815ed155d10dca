/**
 * Fuzzes parsers and the shim by hand: `bun test/fuzz/run.ts`, or `bun test/fuzz/run.ts elf wasm --seconds 600 --inputs 10000000 --seed 7`.
 * `--save` puts the inputs that take ways of their own into the corpus; `--replay BASE64` tries one input; `--unreached` lists the
 * branches that none has taken. Exits with 1 when an input was found that does what it should not.
 */
import { parseArgs } from "node:util";
import { fuzz, replayOf } from "./engine/campaign.ts";
import { FuzzedShim, SHIM_TARGETS, lackOfLibFuzzer } from "./engine/libfuzzer.ts";
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
const all = [...Object.keys(TARGETS), ...SHIM_TARGETS];
const names = positionals.length > 0 ? positionals : all;
for (const name of names)
  if (!all.includes(name)) {
    console.error(`there is no target "${name}"; there are ${all.join(", ")}`);
    process.exit(2);
  }

let failed = false;
const ofShim = names.filter((name) => SHIM_TARGETS.includes(name));
if (ofShim.length > 0) await fuzzShim();
for (const target of names.filter((name) => name in TARGETS)) {
  const seed = seedOf();
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

function seedOf(): number {
  return Number(values.seed ?? 1 + Math.floor(Math.random() * 2 ** 31));
}

async function fuzzShim(): Promise<void> {
  const lack = lackOfLibFuzzer();
  if (lack !== undefined) return console.log(`SKIPPED: the shim: ${lack}`);
  using shim = new FuzzedShim();
  await shim.build();
  for (const target of ofShim) {
    if (values.replay !== undefined) {
      const wrong = await shim.replay(target, Uint8Array.fromBase64(values.replay));
      failed ||= wrong !== undefined;
      console.log(`${target}: ${wrong ?? "nothing is wrong with what the input did"}`);
      continue;
    }
    const [seed, start] = [seedOf(), performance.now()];
    const { inputs, failure, input } = await shim.run(target, {
      ...{ seed, save: values.save },
      ...{ seconds: Number(values.seconds), runs: Number(values.inputs) },
    });
    const seconds = (performance.now() - start) / 1000;
    console.log(`${target}: seed ${seed}, ${inputs} inputs in ${seconds.toFixed(0)} s`);
    if (failure === undefined) continue;
    failed = true;
    console.log(`FOUND in ${target}: ${failure}\ntry it again: ${replayOf(target, input ?? "")}`);
  }
}
