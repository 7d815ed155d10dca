/** A timer of a module, which tells by a file that it runs in time. */
import { writeFileSync } from "node:fs";
import type { RawFunction } from "../../src/function/index.ts";

const BEAT_MS = 20;
/** Less than a sleep of a worker that looks into its event loop only between two of them. */
const LATE_MS = 200;
const IN_TIME = 10;

let beats: ReturnType<typeof setInterval> | undefined;

/** From now on writes to the file that the input names, once ten beats in a row have been in time. */
export const watch: RawFunction = (input) => {
  const path = new TextDecoder().decode(input);
  let inTime = 0;
  let before = performance.now();
  clearInterval(beats);
  beats = setInterval(() => {
    const now = performance.now();
    inTime = now - before < LATE_MS ? inTime + 1 : 0;
    before = now;
    if (inTime === IN_TIME) writeFileSync(path, "in time");
  }, BEAT_MS);
  return 0;
};

export const echo: RawFunction = (input, output) => {
  output.set(input);
  return input.length;
};
