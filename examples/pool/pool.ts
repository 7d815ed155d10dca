/**
 * A pool of workers in a script: many inputs, results in the order of the inputs, progress, and a clean end by Ctrl-C.
 *
 *   pool.ts [LIMIT]    looks for the longest Collatz chain of the numbers below LIMIT, a million if it is not given
 */
import { invoker } from "rfaas";

const limit = Number(process.argv[2] ?? 1_000_000);
if (!Number.isSafeInteger(limit) || limit < 2) {
  console.error(`LIMIT must be a whole number from 2; it is ${process.argv[2]}`);
  process.exit(2);
}
const CHUNK = 20_000;

/** The inputs. The pool takes them as it has room, so that they never lie in memory all together. */
function* chunks() {
  for (let start = 1; start < limit; start += CHUNK)
    yield { start, end: Math.min(start + CHUNK, limit) };
}

// The first signal ends whatever is awaited below; a second one would end the program on the spot.
const stopping = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const)
  process.once(name, () => stopping.abort(new Error(`stopped by ${name}`)));
const { signal } = stopping;

let next = 1;
let most = -1;
try {
  await using rf = await invoker({ signal });
  await using lease = await rf.allocate<typeof import("./collatz.ts")>(
    new URL("./collatz.ts", import.meta.url),
    { workers: Math.min(rf.cores, 8), signal },
  );
  const longestChain = lease.function("longestChain");

  // A pure function may run twice: the chunk of a lost worker goes to another one.
  for await (const { number, steps } of longestChain.map(chunks(), { retries: 2, signal })) {
    next = Math.min(next + CHUNK, limit);
    if (steps > most) {
      most = steps;
      console.log(`${number} reaches 1 in ${steps} steps`);
    }
    if (process.stderr.isTTY)
      process.stderr.write(`${Math.floor((100 * (next - 1)) / (limit - 1))} %\r`);
  }
} catch (error) {
  // The lease and the node have been given back by now, however the loop has ended.
  if (!signal.aborted) throw error;
  console.error(`${signal.reason.message}; all numbers below ${next} were looked at`);
  process.exitCode = 130;
}
