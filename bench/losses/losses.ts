/**
 * What the loss of a host costs its callers: how long after a kill -9 the last of 100 calls in flight has ended, and how long after that the lease,
 * which replaces what it loses, has a new answer.
 *
 *     bun bench/losses/losses.ts [--fabric NAME] [--kills 30] [--calls 100]
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { LOCAL_FABRIC } from "../../src/fabric/registry.ts";
import { type FabricName, WorkerLost, invoker } from "../../src/index.ts";

const FUNCTIONS = join(import.meta.dir, "functions.ts");
/** The node has its next host waiting by then, so that a kill meets a node at rest. */
const PREWARM_LIMIT_MS = 10_000;
/** Workers that are lost sooner are replaced after a pause. */
const LIVES_MS = 600;

const { values } = parseArgs({
  options: {
    fabric: { type: "string", default: LOCAL_FABRIC },
    kills: { type: "string", default: "30" },
    calls: { type: "string", default: "100" },
  },
});
const [kills, calls] = [Number(values.kills), Number(values.calls)];

await using rf = await invoker({
  ...{ cores: 2, prewarm: 1, fabric: values.fabric as FabricName },
  // In a guest on a busy machine a node takes a while.
  connectTimeoutMs: 60_000,
});
await using lease = await rf.allocate<typeof import("./functions.ts")>(FUNCTIONS, {
  ...{ slots: 128, memory: "16MiB", onLoss: "replace", polling: "adaptive" },
});
const knowMs: number[] = [];
const answerMs: number[] = [];
for (let kill = 0; kill < kills; kill++) {
  await Bun.sleep(LIVES_MS);
  const limit = performance.now() + PREWARM_LIMIT_MS;
  while ((await rf.status()).prewarmedHosts === 0 && performance.now() < limit) await Bun.sleep(20);
  const input = lease.input(Uint8Array, 8);
  const outputs = Array.from({ length: calls }, () => lease.output(Uint8Array, 8));
  await lease.submit("answers", input, outputs[0]!);
  const flights = outputs.map((output) => lease.submit("never", input, output));
  // Behind them in the same ring: all have begun.
  await lease.submit("answers", input, lease.output(Uint8Array, 8));
  const ends = Promise.allSettled(flights);
  const killed = performance.now();
  process.kill(lease.hostPid, "SIGKILL");
  const lost = (await ends).filter(
    (end) => end.status === "rejected" && end.reason instanceof WorkerLost,
  );
  const known = performance.now();
  if (lost.length !== calls) throw new Error(`${calls - lost.length} calls did not hear of it`);
  await lease.submit("answers", input, outputs[0]!);
  answerMs.push(performance.now() - known);
  knowMs.push(known - killed);
  for (const buffer of [input, ...outputs]) lease.free(buffer);
}

const shown = (ms: readonly number[]): string => {
  const { lower, median, upper } = spreadOf(ms);
  const worst = Math.max(...ms);
  return [median, lower, upper, worst].map((each) => each.toFixed(1).padStart(9)).join("");
};

function spreadOf(ms: readonly number[]): { lower: number; median: number; upper: number } {
  const sorted = ms.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))]!;
  return { lower: at(0.25), median: at(0.5), upper: at(0.75) };
}

const lines = [
  `${kills} kills of a host with ${calls} calls in flight, over ${values.fabric}`,
  `${"[msec]".padEnd(28)}   median      25%      75%    worst`,
  `${"all callers know".padEnd(28)}${shown(knowMs)}`,
  `${"first new answer after that".padEnd(28)}${shown(answerMs)}`,
];
process.stdout.write(`${lines.join("\n")}\n`);
