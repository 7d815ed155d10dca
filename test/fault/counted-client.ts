/**
 * Makes calls that are counted on both sides, many at a time, and prints as JSON what came of them: `bun counted-client.ts ADDRESS
 * CALLS WORKERS DEPTH`. Some are large, some block.
 */
import { join } from "node:path";
import { type Lease, invoker } from "../../src/index.ts";

type Tally = typeof import("../functions/tally.ts");

export interface Counted {
  fabric: string;
  /** Calls whose answer was right. */
  right: number;
  /** Calls that have come to a worker, and of them those that came again. */
  came: number;
  doubled: number;
}

const SMALL_BYTES = 8;
const LARGE_BYTES = 16 * 1024;
/** Every so many calls one is large, and one blocks. */
const LARGE_EVERY = 100;
const BLOCKING_EVERY = 1000;

async function callOn(
  lease: Lease<Tally>,
  worker: number,
  next: () => number | undefined,
): Promise<number> {
  const [input, output] = [
    lease.input(Uint8Array, LARGE_BYTES, { worker }),
    lease.output(Uint8Array, LARGE_BYTES, { worker }),
  ];
  let right = 0;
  for (let number = next(); number !== undefined; number = next()) {
    const bytes = number % LARGE_EVERY === 0 ? LARGE_BYTES : SMALL_BYTES;
    const [asked, answered] = [input.subarray(0, bytes), output.subarray(0, bytes)];
    asked.fill(number % 251);
    new DataView(asked.buffer, asked.byteOffset).setUint32(0, number, true);
    answered.fill(0);
    if (number % BLOCKING_EVERY === 1) lease.invoke("tally", asked, answered, { worker });
    else await lease.submit("tally", asked, answered, { worker });
    if (asked.every((byte, i) => answered[i] === (byte ^ 1))) right++;
  }
  return right;
}

const [node, calls, workers, depth] = process.argv.slice(2) as [string, ...string[]];
await using rf = await invoker({ node, fabric: "tcp" });
const module = join(import.meta.dir, "../functions/tally.ts");
await using lease = await rf.allocate<Tally>(module, {
  ...{ workers: Number(workers), memory: "64MiB" },
});
let number = 0;
const next = (): number | undefined => (number < Number(calls) ? number++ : undefined);
const lines = Array.from({ length: lease.workers * Number(depth) }, (_, i) =>
  callOn(lease, i % lease.workers, next),
);
const counted: Counted = { fabric: lease.fabric, right: 0, came: 0, doubled: 0 };
for (const right of await Promise.all(lines)) counted.right += right;
for (let worker = 0; worker < lease.workers; worker++) {
  const output = lease.output(Uint32Array, 2, { worker });
  await lease.submit("tallied", lease.input(Uint8Array, 8, { worker }), output, { worker });
  counted.came += output[0]!;
  counted.doubled += output[1]!;
}
console.log(JSON.stringify(counted));
