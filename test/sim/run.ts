/** `npm run sim`: many seeds on all cores, or one of them with all that happens in it. Exits with 1 when an invariant is broken. */
import { USAGE, type RunOptions, parseOptions } from "./options.ts";
import type { Portion, PortionResult } from "./seeds.worker.ts";
import { SimulationFailure, simulate } from "./simulation.ts";

const PORTION = 20;
const PROGRESS_INTERVAL_MS = 5_000;
/** After so many there is enough to look at. */
const MAX_FAILURES = 5;

const options = readOptions();
process.exitCode = (options.trace ? traceOne(options) : await runMany(options)) ? 0 : 1;

function readOptions(): RunOptions {
  try {
    return parseOptions(process.argv.slice(2));
  } catch (error) {
    console.error(`${(error as Error).message}\n${USAGE}`);
    process.exit(2);
  }
}

function traceOne({ from, nodes, clients, bug }: RunOptions): boolean {
  const lines: string[] = [];
  try {
    const outcome = simulate({
      seed: from,
      nodes,
      clients,
      bug,
      trace: (line) => lines.push(line),
    });
    console.log(`${lines.join("\n")}\nseed ${from}: ${JSON.stringify(outcome)}`);
    return true;
  } catch (error) {
    if (!(error instanceof SimulationFailure)) throw error;
    console.log(`${lines.join("\n")}\nseed ${from}, step ${error.step}: ${error.reason}`);
    return false;
  }
}

async function runMany(run: RunOptions): Promise<boolean> {
  const startedMs = performance.now();
  const total = { seeds: 0, steps: 0, leases: 0, failures: 0 };
  let next = run.from;
  const end = run.from + run.seeds;

  const seconds = (): number => (performance.now() - startedMs) / 1000;
  const report = (): void =>
    console.log(
      `${total.seeds} of ${run.seeds} seeds, ${(total.seeds / seconds()).toFixed(1)} seeds/s, ${total.steps} steps, ${total.leases} leases, ${total.failures} failed`,
    );
  const nextPortion = (): Portion | undefined => {
    if (next >= end || total.failures >= MAX_FAILURES) return undefined;
    const { nodes, clients, bug } = run;
    const portion = { from: next, seeds: Math.min(PORTION, end - next), nodes, clients, bug };
    next += portion.seeds;
    return portion;
  };
  const add = (result: PortionResult): void => {
    total.seeds += result.seeds;
    total.steps += result.steps;
    total.leases += result.leases;
    for (const { seed, message } of result.failures) {
      if (total.failures++ >= MAX_FAILURES) continue;
      console.error(`${message}\nto replay: npm run sim -- --seed ${seed}${sizeOf(run)} --trace\n`);
    }
  };

  const progress = setInterval(report, PROGRESS_INTERVAL_MS);
  try {
    await Promise.all(Array.from({ length: run.jobs }, () => work(nextPortion, add)));
  } finally {
    clearInterval(progress);
  }
  report();
  console.log(`${seconds().toFixed(1)} s, ${run.nodes} nodes, ${run.clients} clients`);
  return total.failures === 0;
}

/** One thread, until nothing is left to do. */
async function work(
  nextPortion: () => Portion | undefined,
  add: (result: PortionResult) => void,
): Promise<void> {
  const worker = new Worker(new URL("seeds.worker.ts", import.meta.url).href);
  try {
    await new Promise<void>((resolve, reject) => {
      const more = (): void => {
        const portion = nextPortion();
        if (portion) worker.postMessage(portion);
        else resolve();
      };
      worker.onmessage = ({ data }: MessageEvent<PortionResult>) => {
        add(data);
        more();
      };
      worker.onerror = ({ message }) => reject(new Error(message));
      more();
    });
  } finally {
    worker.terminate();
  }
}

/** What the replay must be told beside the seed. */
function sizeOf({ nodes, clients, bug }: RunOptions): string {
  const size = nodes === 100 && clients === 50 ? "" : ` --nodes ${nodes} --clients ${clients}`;
  return size + (bug ? ` --bug ${bug}` : "");
}
