/**
 * The process in which a target is fuzzed; `campaign.ts` starts it and looks after it. What it is to do comes as JSON in its first
 * argument; what has come of it goes to stdout, as JSON.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PLANTED, TARGETS } from "../targets.ts";
import type { Orders, Report } from "./campaign.ts";
import { minimise, readCorpus, writeCorpus } from "./corpus.ts";
import { Counters, instrument, instrumentGenerated } from "./counters.ts";
import { type Finding, Fuzzer, type Subject } from "./fuzzer.ts";

const ROOT = join(import.meta.dir, "..", "..", "..");
const orders = JSON.parse(process.argv[2]!) as Orders;
const {
  sources,
  except = [],
  generates,
} = orders.target === "planted" ? PLANTED : TARGETS[orders.target]!;
instrument(sources);
if (generates) instrumentGenerated();
const subject = ((await import(`../targets/${orders.target}.ts`)) as { subject: Subject }).subject;
const counters = new Counters(except);
const box = Bun.mmap(orders.box, { shared: true });
const boxed = new DataView(box.buffer, box.byteOffset);
const fuzzer = new Fuzzer(subject, counters, {
  seed: orders.seed,
  tokens: tokens(),
  before(input) {
    boxed.setUint32(0, boxed.getUint32(0) + 1);
    boxed.setUint32(4, input.length);
    box.set(input, 8);
  },
});

const start = performance.now();
const known = orders.inputs
  ? orders.inputs.map((text) => Uint8Array.fromBase64(text))
  : readCorpus(orders.target);
const unreached = () =>
  counters.branches.filter(({ index }) => !fuzzer.isTaken(index)).map(({ place }) => place);
let finding = await feedAll(known);
const unreachedAtFirst = unreached().length;
finding ??= await feedAll(orders.inputs ? [] : subject.seeds);
finding ??=
  orders.seconds > 0
    ? await fuzzer.run(
        (inputs) => inputs >= orders.maxInputs || performance.now() - start > orders.seconds * 1000,
      )
    : undefined;
if (orders.save && !finding)
  writeCorpus(orders.target, await minimise([...known, ...subject.seeds, ...fuzzer.kept], waysOf));
const report: Report = {
  target: orders.target,
  inputs: fuzzer.inputs,
  seconds: (performance.now() - start) / 1000,
  kept: fuzzer.kept.length,
  branches: counters.branches.length,
  excepted: counters.excepted,
  unreachedAtFirst,
  unreached: unreached(),
  ...(finding ? { finding: described(finding) } : {}),
};
console.log(JSON.stringify(report));
process.exit(0);

async function feedAll(inputs: readonly Uint8Array[]): Promise<Finding | undefined> {
  for (const input of inputs) {
    const found = await fuzzer.feed(input);
    if (found) return found;
  }
  return undefined;
}

async function waysOf(input: Uint8Array): Promise<readonly number[] | undefined> {
  if (await fuzzer.feed(input)) return undefined;
  return counters.branches.flatMap(({ index }) => (counters.counts[index]! > 0 ? [index] : []));
}

function described({ input, error }: Finding): NonNullable<Report["finding"]> {
  const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const name = error instanceof Error ? `${error.name}: ${error.message}\n` : "";
  return { input: input.toBase64(), what: `${name}${what}` };
}

/** The texts in the sources, which the parser may look for. */
function tokens(): Uint8Array[] {
  const texts = sources.flatMap((path) => [
    ...readFileSync(join(ROOT, path), "utf8").matchAll(/"((?:[^"\\\n]|\\.){1,24})"/g),
  ]);
  const own = [...new Set(texts.map(([, text]) => text!)), ...(subject.tokens ?? [])];
  return own.map((one) => (typeof one === "string" ? new TextEncoder().encode(one) : one));
}
