/** Order statistics. Benchmarks here report medians and percentiles of what they saw, never only a mean. */

export interface Summary {
  p50: number;
  p99: number;
  p999: number;
  min: number;
  max: number;
  mean: number;
  stdev: number;
}

/** Summary of samples times `scale`. Sorts the samples in place. */
export function summarize(samples: Uint32Array | Float64Array, scale = 1): Summary {
  samples.sort();
  const n = samples.length;
  const at = (q: number) => samples[Math.min(n - 1, Math.floor(q * n))]! * scale;
  let sum = 0;
  for (const sample of samples) sum += sample;
  const mean = (sum / n) * scale;
  let squares = 0;
  for (const sample of samples) squares += (sample * scale - mean) ** 2;
  return {
    p50: at(0.5),
    p99: at(0.99),
    p999: at(0.999),
    min: samples[0]! * scale,
    max: samples[n - 1]! * scale,
    mean,
    stdev: Math.sqrt(squares / n),
  };
}

/** The middle value; of an even count, the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** First and third quartile. */
export function quartiles(values: readonly number[]): [number, number] {
  const sorted = [...values].sort((a, b) => a - b);
  return [
    sorted[Math.floor(0.25 * (sorted.length - 1))]!,
    sorted[Math.ceil(0.75 * (sorted.length - 1))]!,
  ];
}

/** The median of each field. */
export function medianSummary(summaries: readonly Summary[]): Summary {
  const of = (key: keyof Summary) => median(summaries.map((summary) => summary[key]));
  return {
    p50: of("p50"),
    p99: of("p99"),
    p999: of("p999"),
    min: Math.min(...summaries.map((summary) => summary.min)),
    max: Math.max(...summaries.map((summary) => summary.max)),
    mean: of("mean"),
    stdev: of("stdev"),
  };
}

/** What a pair of windows says: rfaas beside the floor. */
export interface Compared {
  overhead_p50: number;
  ratio_p50: number;
  ratio_p99: number;
}

export const compare = (call: Summary, floor: Summary): Compared => ({
  overhead_p50: call.p50 - floor.p50,
  ratio_p50: call.p50 / floor.p50,
  ratio_p99: call.p99 / floor.p99,
});
