/**
 * `bun test/torture/run.ts [--seconds 600] [--seed N] [--workers N] [--slots N] [--polling KIND] [--memory SIZE]`: exits with 1 when
 * an answer was wrong, lost, or did not come.
 */
import { parseArgs } from "node:util";
import { type Polling, invoker } from "../../src/index.ts";
import { RFAAS } from "../support/executable.ts";
import { torture } from "./torture.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "600" },
    seed: { type: "string", default: String(Date.now()) },
    workers: { type: "string" },
    slots: { type: "string" },
    polling: { type: "string" },
    memory: { type: "string" },
  },
});
process.env["RFAAS_EXECUTABLE"] ??= RFAAS;
const seed = Number(values.seed);
const { workers, slots, polling, memory } = values;
const startedMs = performance.now();
await using rf = await invoker({ cores: Math.max(2, Number(workers ?? 2)) });
let told = 0;
const result = await torture(rf, {
  seconds: Number(values.seconds),
  seed,
  lease: {
    ...(workers === undefined ? {} : { workers: Number(workers) }),
    ...(slots === undefined ? {} : { slots: Number(slots) }),
    ...(polling === undefined ? {} : { polling: polling as Polling }),
    ...(memory === undefined ? {} : { memory }),
  },
  onWrong: (what) => {
    if (++told <= 20) console.error(what);
  },
});
console.log(
  JSON.stringify({ seed, seconds: (performance.now() - startedMs) / 1000, ...result }, null, 2),
);
if (result.wrong + result.lost + result.endless > 0) process.exitCode = 1;
