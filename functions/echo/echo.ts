import type { RawFunction } from "../../src/function/index.ts";

/** Returns what it is given. */
export const echo: RawFunction = (input, output) => {
  const { length } = input;
  // For a few bytes a loop is cheaper than the engine's copy.
  if (length <= 16) for (let i = 0; i < length; i++) output[i] = input[i]!;
  else output.set(input);
  return length;
};

/** Reads the first and the last byte of its input and writes them to the ends of its output; the rest stays untouched. */
export const touch: RawFunction = (input, output) => {
  const last = input.length - 1;
  if (last < 0) return 0;
  output[0] = input[0]!;
  output[last] = input[last]!;
  return input.length;
};

/** Returns the first and the last byte of its input, and nothing else. */
export const ends: RawFunction = (input, output) => {
  if (input.length === 0 || output.length < 2) return 0;
  output[0] = input[0]!;
  output[1] = input[input.length - 1]!;
  return 2;
};
