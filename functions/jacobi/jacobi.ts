/**
 * Jacobi's method for linear equations, spread over workers by rows. A worker keeps its rows of the matrix in `ctx.state`, so an
 * iteration sends it the solution so far and gets its part of the next: the matrix, which is most of the bytes, travels once.
 */
import { Type, defineFunction, typedArray } from "rfaas/function";

interface Rows {
  /** Of the whole system. */
  size: number;
  /** Which row of the system is the first of these. */
  first: number;
  /** Row by row, `size` coefficients each. */
  matrix: Float64Array;
  right: Float64Array;
}

/** Gives a worker its rows. Resolves to how many it has. */
export const load = defineFunction(
  {
    input: Type.Object({
      size: Type.Integer({ minimum: 1 }),
      first: Type.Integer({ minimum: 0 }),
      matrix: typedArray("Float64Array"),
      right: typedArray("Float64Array"),
    }),
    output: Type.Integer(),
  },
  ({ size, first, matrix, right }, { state, log }) => {
    if (matrix.length !== size * right.length)
      throw new RangeError(
        `${right.length} rows of ${size} need ${size * right.length} coefficients, not ${matrix.length}`,
      );
    // Both lie in the lease's memory, which the next call uses.
    state.set("rows", { size, first, matrix: matrix.slice(), right: right.slice() } as Rows);
    log.debug("rows loaded", { first, rows: right.length });
    return right.length;
  },
);

/** One iteration on this worker's rows: their part of the next solution, and the largest change in it. */
export const sweep = defineFunction(
  {
    input: typedArray("Float64Array"),
    output: Type.Object({
      first: Type.Integer(),
      part: typedArray("Float64Array"),
      change: Type.Number(),
    }),
  },
  (solution, { state, cold, worker }) => {
    const rows = state.get("rows") as Rows | undefined;
    if (rows === undefined)
      throw Object.assign(
        new Error(`worker ${worker} has no rows${cold ? ": it has just started" : ""}; load them`),
        { code: "JACOBI_NO_ROWS", retryable: true },
      );
    const { size, first, matrix, right } = rows;
    if (solution.length !== size)
      throw new RangeError(`the system has ${size} unknowns, the solution ${solution.length}`);
    const part = new Float64Array(right.length);
    let change = 0;
    for (let row = 0; row < part.length; row++) {
      const at = row * size;
      const own = first + row;
      let sum = right[row]!;
      for (let column = 0; column < size; column++)
        if (column !== own) sum -= matrix[at + column]! * solution[column]!;
      part[row] = sum / matrix[at + own]!;
      change = Math.max(change, Math.abs(part[row]! - solution[own]!));
    }
    return { first, part, change };
  },
);
