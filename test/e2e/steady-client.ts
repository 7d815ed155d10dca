/**
 * A client for `steady.test.ts`, run with GC logging on: warms up, then makes at most two million synchronous calls between two marks on
 * stderr. With `--allocate` it also makes garbage between the marks, to show that the log would tell.
 */
import { writeSync } from "node:fs";
import { join } from "node:path";
import { heapStats } from "bun:jsc";
import { APART } from "../support/fabric.ts";
import { invoker } from "../support/library.ts";

const CALLS = 2_000_000;
/** Two that spin on one core take their turns, and calls between machines take longer: then there are fewer calls. */
const LIMIT_MS = APART ? 5_000 : 40_000;

await using rf = await invoker();
await using lease = await rf.allocate(join(import.meta.dir, "../functions/good.ts"), {
  polling: "hot",
  // A heap that counts much memory as its own collects seldom.
  memory: "64KiB",
});
const input = lease.input(Uint8Array, 64);
const output = lease.output(Uint8Array, 64);
const run = (calls: number): void => {
  const endMs = performance.now() + LIMIT_MS;
  for (let i = 0; i < calls; i++) {
    if ((i & 1023) === 0 && performance.now() > endMs) return;
    input[0] = i;
    if (lease.invoke("echo", input, output) !== 64 || output[0] !== (i & 0xff))
      throw new Error(`call ${i}`);
  }
};
run(300_000);
// Collections that the start has earned come now.
Bun.gc(true);
await lease.submit("later", input.fill(0), output);

const before = heapStats().heapSize;
writeSync(2, "=== begin\n");
run(CALLS);
const garbage: unknown[] = [];
if (process.argv.includes("--allocate")) for (let i = 0; i < CALLS; i++) garbage[i & 7] = { i };
writeSync(2, "=== end\n");
process.stdout.write(`${heapStats().heapSize - before} ${garbage.length}\n`);
