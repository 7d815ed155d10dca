/**
 * The part of one worker in a conjugate gradient method: some rows of the grid, which it keeps in `ctx.state` between calls. What
 * travels are scalars and the rows at the strip's two edges, in memory that caller and worker share.
 *
 * Of every call, the input and the output are a `Float64Array`: a scalar, then the row above and the row below (or the first and the
 * last row) where the call has them.
 */
import type { FunctionContext, RawFunction } from "rfaas/function";
import { rightSide } from "./problem.ts";

interface Strip {
  /** Points of a row. */
  size: number;
  rows: number;
  /** The solution so far, and what it leaves of the right side. */
  x: Float64Array;
  r: Float64Array;
  /** The direction of the search, with a row of the strip above and one of that below around it; and the matrix times that. */
  p: Float64Array;
  q: Float64Array;
}

/** Makes the strip: size of the grid, its first row, how many rows. Returns r·r, and the first and the last row of r. */
export const start: RawFunction = (input, output, { state }) => {
  const [size = 0, first = 0, rows = 0] = doubles(input);
  const step = 1 / (size + 1);
  const points = size * rows;
  const strip: Strip = {
    size,
    rows,
    x: new Float64Array(points),
    r: new Float64Array(points),
    p: new Float64Array(points + 2 * size),
    q: new Float64Array(points),
  };
  for (let row = 0, at = 0; row < rows; row++)
    for (let column = 0; column < size; column++, at++)
      strip.r[at] = step * step * rightSide((column + 1) * step, (first + row + 1) * step);
  state.set("strip", strip);
  return writeEdges(strip, doubles(output));
};

/** Takes beta, and the rows of r around the strip. Makes p = r + beta p and q = A p. Returns p·q. */
export const search: RawFunction = (input, output, ctx) => {
  const { size, rows, r, p, q } = stripOf(ctx);
  const numbers = doubles(input);
  const beta = numbers[0]!;
  const below = size + size * rows;
  for (let i = 0; i < size; i++) {
    p[i] = numbers[1 + i]! + beta * p[i]!;
    p[below + i] = numbers[1 + size + i]! + beta * p[below + i]!;
  }
  for (let i = 0; i < r.length; i++) p[size + i] = r[i]! + beta * p[size + i]!;

  let product = 0;
  for (let row = 0, i = 0; row < rows; row++)
    for (let column = 0; column < size; column++, i++) {
      const at = size + i;
      const left = column > 0 ? p[at - 1]! : 0;
      const right = column < size - 1 ? p[at + 1]! : 0;
      q[i] = 4 * p[at]! - left - right - p[at - size]! - p[at + size]!;
      product += p[at]! * q[i]!;
    }
  doubles(output)[0] = product;
  return 8;
};

/** Takes alpha. Makes x = x + alpha p and r = r - alpha q. Returns r·r, and the first and the last row of r. */
export const advance: RawFunction = (input, output, ctx) => {
  const strip = stripOf(ctx);
  const { size, x, r, p, q } = strip;
  const alpha = doubles(input)[0]!;
  for (let i = 0; i < x.length; i++) {
    x[i] = x[i]! + alpha * p[size + i]!;
    r[i] = r[i]! - alpha * q[i]!;
  }
  return writeEdges(strip, doubles(output));
};

/** Returns the strip's part of the solution. */
export const result: RawFunction = (_input, output, ctx) => {
  const { x } = stripOf(ctx);
  doubles(output).set(x);
  return x.byteLength;
};

function writeEdges({ size, r }: Strip, numbers: Float64Array): number {
  numbers[0] = r.reduce((sum, value) => sum + value * value, 0);
  numbers.set(r.subarray(0, size), 1);
  numbers.set(r.subarray(r.length - size), 1 + size);
  return 8 * (1 + 2 * size);
}

function stripOf({ state, worker }: FunctionContext): Strip {
  const strip = state.get("strip");
  if (strip === undefined) throw new Error(`worker ${worker} has no strip; call start first`);
  return strip as Strip;
}

function doubles({ buffer, byteOffset, byteLength }: Uint8Array<ArrayBuffer>): Float64Array {
  return new Float64Array(buffer, byteOffset, byteLength / 8);
}
