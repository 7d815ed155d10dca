/**
 * The echo of a benchmark that sweeps over phases: it waits before it answers, so that the answer meets the caller's polls at
 * another moment. The wait is the floor's own.
 */
import { delayer } from "../../ffi/floor.ts";
import type { RawFunction } from "../../src/function/index.ts";
import { echo, touch } from "./echo.ts";

const delay = delayer();
let ticks = 0;

/** Sets the wait of the calls that follow: ticks of the cycle counter, as a 32-bit number in the machine's byte order. */
export const pace: RawFunction = (input) => {
  ticks = new Uint32Array(input.buffer, input.byteOffset, 1)[0]!;
  return 0;
};

export const pacedEcho: RawFunction = (input, output, context) => {
  if (ticks !== 0) delay(ticks);
  return echo(input, output, context);
};

export const pacedTouch: RawFunction = (input, output, context) => {
  if (ticks !== 0) delay(ticks);
  return touch(input, output, context);
};
