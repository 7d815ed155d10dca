/** Reads a file with a number a thousand times a second until it is told to stop: `bun sampler.ts FILE BOUND`. Prints what it has seen. */
import { openSync, readSync } from "node:fs";

const [path, bound] = [process.argv[2]!, Number(process.argv[3])];
const file = openSync(path, "r");
const bytes = Buffer.alloc(32);
/** Nothing where the group has gone with its lease. */
function read(): number {
  try {
    return Number(bytes.toString("latin1", 0, readSync(file, bytes, 0, 32, 0)));
  } catch {
    return 0;
  }
}

let [peak, widestMs] = [0, 0];
let crossedMs: number | undefined;
let fellMs: number | undefined;
let lastMs = performance.now();
let ended = false;
process.stdin.on("data", () => (ended = true));
console.log("reading");
while (!ended) {
  for (let i = 0; i < 20; i++) {
    const used = read();
    const nowMs = performance.now();
    widestMs = Math.max(widestMs, nowMs - lastMs);
    lastMs = nowMs;
    peak = Math.max(peak, used);
    if (used > bound) crossedMs ??= nowMs;
    else if (crossedMs !== undefined) fellMs ??= nowMs;
    Bun.sleepSync(1);
  }
  await Bun.sleep(0);
}
console.log(
  JSON.stringify({
    peak,
    aboveMs: crossedMs === undefined ? 0 : (fellMs ?? lastMs) - crossedMs,
    widestMs,
  }),
);
process.exit(0);
