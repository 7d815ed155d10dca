/**
 * Solves Poisson's equation on a square grid by conjugate gradients, each worker a strip of it, and compares with the solution that
 * is known.
 *
 *   solver.ts [SIZE] [WORKERS]    on a grid of SIZE x SIZE points (127), with so many workers (as many as the node has cores, 8 at most)
 */
import { invoker } from "rfaas";
import { rightSide, solution } from "./problem.ts";

const TOLERANCE = 1e-10;

await using rf = await invoker();
const size = whole("SIZE", process.argv[2] ?? "127");
const workers = whole("WORKERS", process.argv[3] ?? String(Math.min(rf.cores, 8)));
if (workers > size) fail(`${size} rows are too few for ${workers} workers`);

await using lease = await rf.allocate<typeof import("./strip.ts")>(
  new URL("./strip.ts", import.meta.url),
  { workers },
);

// Each worker has buffers on its own node, which hold a scalar and two rows, and are used for every call.
const strips = Array.from({ length: workers }, (_, worker) => {
  const first = Math.floor((worker * size) / workers);
  const rows = Math.floor(((worker + 1) * size) / workers) - first;
  const input = lease.input(Float64Array, 1 + 2 * size, { worker }).fill(0);
  const output = lease.output(Float64Array, 1 + 2 * size, { worker }).fill(0);
  return { worker, first, rows, input, output };
});

for (const { first, rows, input } of strips) input.set([size, first, rows]);
let square = await onAll("start");
const firstSquare = square;
let beta = 0;
let iterations = 0;
for (; square > TOLERANCE ** 2 * firstSquare; iterations++) {
  if (iterations > 10 * size) fail(`no convergence after ${iterations} iterations`);
  exchangeEdges();
  tellAll(beta);
  const alpha = square / (await onAll("search"));
  tellAll(alpha);
  const nextSquare = await onAll("advance");
  beta = nextSquare / square;
  square = nextSquare;
}

const grid = new Float64Array(size * size);
for (const { worker, first, rows, input } of strips) {
  const part = lease.output(Float64Array, rows * size, { worker });
  await lease.submit("result", input, part, { worker });
  grid.set(part, first * size);
  lease.free(part);
}
const { residual, error } = check(grid);
console.log(`${size} x ${size} points: ${iterations} iterations`);
console.log(`residual  ${residual.toExponential(1)}, relative to the right side`);
console.log(`error     ${error.toExponential(3)}, against the solution that is known`);

/** Calls a function on every worker at once. Resolves to the sum of what they say first. */
async function onAll(name: "start" | "search" | "advance"): Promise<number> {
  await Promise.all(
    strips.map(({ worker, input, output }) => lease.submit(name, input, output, { worker })),
  );
  return strips.reduce((sum, { output }) => sum + output[0]!, 0);
}

function tellAll(scalar: number): void {
  for (const { input } of strips) input[0] = scalar;
}

/** Gives every strip the last row of the one above it and the first row of the one below it. */
function exchangeEdges(): void {
  for (const [k, { input }] of strips.entries()) {
    const above = strips[k - 1]?.output.subarray(1 + size);
    const below = strips[k + 1]?.output.subarray(1, 1 + size);
    // Beyond the edge of the grid there are zeroes.
    input.fill(0);
    if (above) input.set(above, 1);
    if (below) input.set(below, 1 + size);
  }
}

/** What the solution leaves of the right side, computed anew, and how far it is from the one that is known. */
function check(u: Float64Array): { residual: number; error: number } {
  const step = 1 / (size + 1);
  const at = (row: number, column: number): number =>
    row < 0 || column < 0 || row === size || column === size ? 0 : u[row * size + column]!;
  let left = 0;
  let right = 0;
  let error = 0;
  for (let row = 0; row < size; row++)
    for (let column = 0; column < size; column++) {
      const [x, y] = [(column + 1) * step, (row + 1) * step];
      const wanted = step * step * rightSide(x, y);
      const around =
        at(row - 1, column) + at(row + 1, column) + at(row, column - 1) + at(row, column + 1);
      left += (wanted - 4 * at(row, column) + around) ** 2;
      right += wanted ** 2;
      error = Math.max(error, Math.abs(at(row, column) - solution(x, y)));
    }
  return { residual: Math.sqrt(left / right), error };
}

function whole(name: string, text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number > 0) return number;
  return fail(`${name} must be a whole number from 1; it is ${text}`);
}

function fail(problem: string): never {
  console.error(problem);
  process.exit(1);
}
