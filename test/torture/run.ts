/** `bun test/torture/run.ts [--seconds 600] [--seed N]`: exits with 1 when an answer was wrong, lost, or did not come. */
import { parseArgs } from "node:util";
import { invoker } from "../../src/index.ts";
import { RFAAS } from "../support/executable.ts";
import { torture } from "./torture.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "600" },
    seed: { type: "string", default: String(Date.now()) },
  },
});
process.env["RFAAS_EXECUTABLE"] ??= RFAAS;
const seed = Number(values.seed);
const startedMs = performance.now();
await using rf = await invoker({ cores: 2 });
let told = 0;
const result = await torture(rf, {
  seconds: Number(values.seconds),
  seed,
  onWrong: (what) => {
    if (++told <= 20) console.error(what);
  },
});
console.log(
  JSON.stringify({ seed, seconds: (performance.now() - startedMs) / 1000, ...result }, null, 2),
);
if (result.wrong + result.lost + result.endless > 0) process.exitCode = 1;
