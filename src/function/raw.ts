/** Functions on memory. */
import type { FunctionContext } from "./context.ts";

/**
 * A function that works on memory: reads `input`, writes `output`, returns how many bytes it wrote.
 *
 * Both views start at a multiple of 64 bytes when the caller's buffers do. They belong to the call: after the function has
 * returned (or its promise has settled) their contents may change.
 *
 * @example
 * ```ts
 * import type { RawFunction } from "rfaas/function";
 *
 * export const sum: RawFunction = (input, output) => {
 *   const numbers = new Float64Array(input.buffer, input.byteOffset, input.length / 8);
 *   let total = 0;
 *   for (const n of numbers) total += n;
 *   new Float64Array(output.buffer, output.byteOffset, 1)[0] = total;
 *   return 8;
 * };
 * ```
 */
export type RawFunction = (
  input: Uint8Array<ArrayBuffer>,
  output: Uint8Array<ArrayBuffer>,
  ctx: FunctionContext,
) => number | Promise<number>;
