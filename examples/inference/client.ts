/** Sends batches of points to warm workers, and compares what the model says with what a computation by hand does. */
import { invoker } from "rfaas";
import { CLASSES, FEATURES, centres } from "./model.ts";

const BATCHES = 200;
const BATCH = 64;

await using rf = await invoker();
await using lease = await rf.allocate<typeof import("./classify.ts")>(
  new URL("./classify.ts", import.meta.url),
  // The runtime is some ten megabytes, which every worker loads and a distant node gets first.
  { workers: Math.min(rf.cores, 4), loadTimeoutMs: 60_000 },
);
const classify = lease.function("classify");

const batches = Array.from({ length: BATCHES }, (_, k) => pointsOf(k));
let k = 0;
let nearest = 0;
let worst = 0;
for await (const probabilities of classify.map(batches, { retries: 1 })) {
  const points = batches[k++]!;
  for (let i = 0; i < BATCH; i++) {
    const given = probabilities.subarray(i * CLASSES, (i + 1) * CLASSES);
    const byHand = probabilitiesOf(points.subarray(i * FEATURES, (i + 1) * FEATURES));
    if (given.indexOf(Math.max(...given)) === byHand.indexOf(Math.max(...byHand))) nearest++;
    for (const [c, value] of byHand.entries()) worst = Math.max(worst, Math.abs(given[c]! - value));
  }
}
console.log(`${BATCHES} batches of ${BATCH} points`);
console.log(`${nearest} of ${BATCHES * BATCH} points are in the class of the nearest centre`);
console.log(`probabilities are those computed by hand, within ${worst < 1e-5 ? "1e-5" : worst}`);
if (nearest !== BATCHES * BATCH || worst >= 1e-5) process.exitCode = 1;

/** A batch of points, each somewhere around a centre, the same in every run. */
function pointsOf(batch: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: BATCH * FEATURES }, (_, at) => {
    const point = batch * BATCH + Math.floor(at / FEATURES);
    return centres[point % CLASSES]![at % FEATURES]! + 0.5 * Math.sin(point * 1.7 + at * 0.3);
  });
}

/** Softmax over the classes of minus the squared distance to their centres. */
function probabilitiesOf(point: Float32Array): number[] {
  const scores = centres.map(
    (centre) => -centre.reduce((sum, value, i) => sum + (point[i]! - value) ** 2, 0),
  );
  const most = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - most));
  const total = weights.reduce((sum, weight) => sum + weight);
  return weights.map((weight) => weight / total);
}
