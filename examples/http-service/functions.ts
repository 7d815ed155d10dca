/** What the service computes, in workers. */
import { Type, defineFunction } from "rfaas/function";

const SEGMENT = 2 ** 18;

/**
 * How many primes there are below a number. Between segments of its sieve it gives way to other calls of its worker, and looks
 * whether its caller still waits: a call of which the deadline has passed, or whose HTTP client has gone away, costs nothing more.
 */
export const countPrimes = defineFunction(
  {
    input: Type.Object({ below: Type.Integer({ minimum: 2, maximum: 1e10 }) }),
    output: Type.Integer(),
  },
  async ({ below }, { invocation, log }) => {
    const { signal } = invocation;
    const small = primesBelow(Math.ceil(Math.sqrt(below)) + 1);
    let count = 0;
    for (let start = 2; start < below; start += SEGMENT) {
      count += primesWithin(start, Math.min(start + SEGMENT, below), small);
      await new Promise((resolve) => setImmediate(resolve));
      if (signal.aborted) {
        log.info("stopped counting", { below, at: start });
        throw signal.reason;
      }
    }
    return count;
  },
);

/** Mean and standard deviation of samples. */
export const summarize = defineFunction(
  {
    input: Type.Object({ samples: Type.Array(Type.Number(), { minItems: 1 }) }),
    output: Type.Object({ count: Type.Integer(), mean: Type.Number(), deviation: Type.Number() }),
  },
  ({ samples }) => {
    const count = samples.length;
    const mean = samples.reduce((sum, x) => sum + x, 0) / count;
    const variance = samples.reduce((sum, x) => sum + (x - mean) ** 2, 0) / count;
    return { count, mean, deviation: Math.sqrt(variance) };
  },
);

/** The primes from `start` on that are below `end`, by a sieve with the primes up to the root of `end`. */
function primesWithin(start: number, end: number, small: readonly number[]): number {
  const composite = new Uint8Array(end - start);
  for (const prime of small) {
    const first = Math.max(prime * prime, Math.ceil(start / prime) * prime);
    for (let multiple = first; multiple < end; multiple += prime) composite[multiple - start] = 1;
  }
  let count = 0;
  for (const is of composite) count += 1 - is;
  return count;
}

function primesBelow(end: number): number[] {
  const composite = new Uint8Array(end);
  const primes: number[] = [];
  for (let n = 2; n < end; n++) {
    if (composite[n]) continue;
    primes.push(n);
    for (let multiple = n * n; multiple < end; multiple += n) composite[multiple] = 1;
  }
  return primes;
}
