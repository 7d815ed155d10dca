/**
 * The demonstration: `npm run demo`. Prices a portfolio of options alone, then with half of the work in leased workers, and
 * shows what a call costs beside the floor of this machine. `--options N` prices another number.
 */
import { countOf } from "../../src/base/units.ts";
import { join } from "node:path";
import { openNode } from "../../src/client/invoker.ts";
import type { Lease } from "../../src/index.ts";
import { RECORD_FLOATS, priceRecords } from "../../functions/blackscholes/blackscholes.ts";
import { usableCpus } from "../../ffi/system.ts";
import { LOCAL_FABRIC } from "../../src/fabric/registry.ts";
import { floorOf } from "../floor.ts";
import { measureLatency } from "../scenarios/latency.ts";
import { checkPrices } from "./check.ts";
import { fillPortfolio } from "./portfolio.ts";
import { Progress } from "./progress.ts";

type BlackScholes = typeof import("../../functions/blackscholes/blackscholes.ts");

const OPTIONS = 10_000_000;
/** Options per call: enough work to forget the call, small enough to show progress. */
const CHUNK = 50_000;
/** The oracle is slow: every so many rows of all. */
const CHECK_EVERY = 20;
const ROOT = join(import.meta.dir, "..", "..");

const total = readOptionCount(process.argv);
// The node is the executable that was just built, as it would be on another machine.
process.env["RFAAS_EXECUTABLE"] ??= join(ROOT, "dist", "rfaas");
await demonstrate(total);

async function demonstrate(total: number): Promise<void> {
  const progress = new Progress();
  const workers = Math.max(1, usableCpus().length - 1);
  const half = Math.floor(total / 2);

  progress.begin("starting a node");
  await using rf = await openNode();
  await using lease = await rf.allocate<BlackScholes>(
    new URL("../../functions/blackscholes/blackscholes.ts", import.meta.url),
    {
      workers,
      memory: 4 * (RECORD_FLOATS + 1) * half + 4096,
      polling: "hot",
    },
  );

  const localRecords = new Float32Array(RECORD_FLOATS * (total - half));
  const localPrices = new Float32Array(total - half);
  const records = lease.input(Float32Array, RECORD_FLOATS * half);
  const prices = lease.output(Float32Array, half);
  await progress.each("making the portfolio", chunks(total, CHUNK), ([from, to]) => {
    forPart(records, 0, half, from, to, RECORD_FLOATS, fillPortfolio);
    forPart(localRecords, half, total, from, to, RECORD_FLOATS, fillPortfolio);
  });
  await warmUp(lease, records, prices, localRecords, localPrices);

  let startedNs = Bun.nanoseconds();
  await progress.each("pricing alone", chunks(total, CHUNK), ([from, to]) => {
    pricePart(records, prices, 0, half, from, to);
    pricePart(localRecords, localPrices, half, total, from, to);
  });
  const aloneNs = Bun.nanoseconds() - startedNs;
  const alonePrices = prices.slice();
  prices.fill(0);

  startedNs = Bun.nanoseconds();
  const calls = chunks(half, CHUNK).map(([from, to]) =>
    lease.submit(
      "price",
      records.subarray(from * RECORD_FLOATS, to * RECORD_FLOATS),
      prices.subarray(from, to),
    ),
  );
  await progress.each("pricing with rfaas", chunks(total - half, CHUNK), ([from, to]) =>
    priceRecords(
      localRecords.subarray(from * RECORD_FLOATS, to * RECORD_FLOATS),
      localPrices.subarray(from, to),
    ),
  );
  const written = await Promise.all(calls);
  const togetherNs = Bun.nanoseconds() - startedNs;

  if (written.reduce((sum, bytes) => sum + bytes, 0) !== 4 * half)
    throw new Error("the workers priced too few options");
  let checked = 0;
  let worstError = 0;
  await progress.each("checking", chunks(half, CHUNK), ([from, to]) => {
    for (const [rows, out, first] of [
      [records, prices, 0],
      [localRecords, localPrices, half],
    ] as const) {
      const part = rows.subarray(from * RECORD_FLOATS, to * RECORD_FLOATS);
      const result = checkPrices(part, out.subarray(from, to), first + from, CHECK_EVERY);
      checked += result.rows;
      worstError = Math.max(worstError, result.worstError);
    }
  });
  if (!prices.every((price, i) => price === alonePrices[i]))
    throw new Error("leased workers and this process disagree on a price");
  await lease.release();

  progress.begin("measuring a call");
  const { row } = await measureLatency({ at: () => {} }, rf, {
    bytes: 8,
    iterations: 20_000,
    extent: { pairs: 5 },
    polling: "hot",
    payload: "copy",
    ratePerS: 0,
    floor: await floorOf(LOCAL_FABRIC, {}),
    yardstick: undefined,
  });
  progress.end();

  const rate = (ns: number) => `${(total / (ns / 1e9) / 1e6).toFixed(1)} million options/s`;
  console.log(`
Priced ${total.toLocaleString("en")} options (Black-Scholes), half of them in ${countOf(workers, "leased worker")} of another process.
  alone        ${rate(aloneNs)}
  with rfaas   ${rate(togetherNs)}   (${(aloneNs / togetherNs).toFixed(2)} times)
  a call       ${Math.round(row.p50_ns)} ns median; raw shared memory between the same cores: ${Math.round(row.baseline.p50_ns)} ns
  checked      ${checked.toLocaleString("en")} prices against the closed form and put-call parity, worst error ${worstError.toExponential(1)}

Try next:
  dist/rfaas bench latency                              what a call costs here, properly measured
  dist/rfaas invoke functions/echo/echo.ts#echo --json '"hello"'
  dist/rfaas serve                                      a node for other programs, see README.md`);
}

/** Both sides reach the JIT's last tier before anything is timed. */
async function warmUp(
  lease: Lease<BlackScholes>,
  records: Float32Array<ArrayBuffer>,
  prices: Float32Array<ArrayBuffer>,
  localRecords: Float32Array,
  localPrices: Float32Array,
): Promise<void> {
  const n = Math.min(CHUNK, prices.length, localPrices.length);
  for (let i = 0; i < 5; i++) {
    priceRecords(localRecords.subarray(0, n * RECORD_FLOATS), localPrices.subarray(0, n));
    for (let worker = 0; worker < lease.workers; worker++)
      await lease.submit("price", records.subarray(0, n * RECORD_FLOATS), prices.subarray(0, n), {
        worker,
      });
  }
}

/** Rows `from` to `to` of all, as far as they lie in the part that `array` holds: rows `first` to `end`. */
function forPart(
  array: Float32Array,
  first: number,
  end: number,
  from: number,
  to: number,
  width: number,
  work: (part: Float32Array, firstRow: number) => void,
): void {
  const begin = Math.max(from, first);
  const stop = Math.min(to, end);
  if (begin < stop) work(array.subarray((begin - first) * width, (stop - first) * width), begin);
}

function pricePart(
  records: Float32Array,
  prices: Float32Array,
  first: number,
  end: number,
  from: number,
  to: number,
): void {
  forPart(records, first, end, from, to, RECORD_FLOATS, (part, begin) =>
    priceRecords(part, prices.subarray(begin - first, begin - first + part.length / RECORD_FLOATS)),
  );
}

function chunks(total: number, size: number): [from: number, to: number][] {
  return Array.from({ length: Math.ceil(total / size) }, (_, i) => [
    i * size,
    Math.min(total, (i + 1) * size),
  ]);
}

function readOptionCount(argv: readonly string[]): number {
  const at = argv.indexOf("--options");
  if (at === -1) return OPTIONS;
  const count = Number(argv[at + 1]);
  if (Number.isInteger(count) && count >= 1000 && count <= 100_000_000) return count;
  console.error("--options needs a whole number from 1000 to 100000000");
  process.exit(2);
}
