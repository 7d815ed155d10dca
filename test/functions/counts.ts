/** Counts in a file of its own what it has done, so that a bill can be compared with it. */
import { appendFileSync } from "node:fs";
import type { RawFunction } from "../../src/function/index.ts";

/** Appends a byte to the file whose path its input is. */
export const mark: RawFunction = (input) => {
  appendFileSync(new TextDecoder().decode(input), "x");
  return 0;
};
