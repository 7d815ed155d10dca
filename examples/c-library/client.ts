/** Calls the functions of a C library: cleans a noisy sine with its filter, and measures before and after. */
import { type Lease, invoker } from "rfaas";

const SAMPLES = 100_000;
const TAPS = 25;
/** Of the sine, in samples. */
const PERIOD = 1000;

await using rf = await invoker();
// The names of its functions are in the library itself, so there is no type to check them with: a wrong one is a NoSuchFunction.
await using lease = await rf.allocate(new URL("./libsignal.so", import.meta.url));

// The input of the filter, as `struct filter` of signal.c lays it out, in memory that the C code reads in place.
const input = lease.input(Uint8Array, 8 + 8 * (TAPS + SAMPLES));
new Uint32Array(input.buffer, input.byteOffset, 2).set([TAPS, SAMPLES]);
const taps = new Float64Array(input.buffer, input.byteOffset + 8, TAPS).fill(1 / TAPS);
const noisy = new Float64Array(input.buffer, taps.byteOffset + taps.byteLength, SAMPLES);
// Noise of +0.5 and -0.5 in turn, of which an average over 25 samples leaves a 25th.
for (let i = 0; i < SAMPLES; i++) noisy[i] = sine(i) + (i % 2 === 0 ? 0.5 : -0.5);

const filtered = lease.output(Float64Array, SAMPLES - TAPS + 1);
const bytes = lease.invoke("filter", input, filtered);
if (bytes !== filtered.byteLength) throw new Error("filter did not take its input");

let worst = 0;
for (const [i, value] of filtered.entries())
  worst = Math.max(worst, Math.abs(value - sine(i + (TAPS - 1) / 2)));

print("noisy", levels(lease, noisy));
print("filtered", levels(lease, filtered));
console.log(`the filtered signal is the sine within ${worst.toFixed(3)}`);

function sine(i: number): number {
  return Math.sin((2 * Math.PI * i) / PERIOD);
}

/** A result can be the input of the next call: it lies in the lease's memory already. */
function levels(lease: Lease, samples: Float64Array<ArrayBuffer>): Float64Array {
  const out = lease.output(Float64Array, 3);
  if (lease.invoke("levels", samples, out) === 0) throw new Error("there are no samples");
  const copy = out.slice();
  lease.free(out);
  return copy;
}

function print(what: string, [mean, rms, peak]: Float64Array): void {
  const [a, b, c] = [mean!, rms!, peak!].map((x) => Math.abs(x).toFixed(3));
  console.log(`${what.padEnd(8)}  mean ${a}  root mean square ${b}  peak ${c}`);
}
