/** Functions that do what they should, for the tests. */
import { existsSync } from "node:fs";
import type { FunctionContext, RawFunction } from "../../src/function/index.ts";

export const answer = 42;

export const echo: RawFunction = (input, output) => {
  output.set(input);
  return input.length;
};

/** Writes `[worker, workers]`. */
export const whoAmI: RawFunction = (_input, output, ctx: FunctionContext) => {
  new Uint32Array(output.buffer, output.byteOffset, 2).set([ctx.worker, ctx.workers]);
  return 8;
};

/** Waits on the event loop for as many milliseconds as its input says, then echoes. */
export const later: RawFunction = async (input, output) => {
  await Bun.sleep(new Uint32Array(input.buffer, input.byteOffset, 1)[0]!);
  output.set(input);
  return input.length;
};

/** Waits on the event loop until the file exists whose path its input is. */
export const untilFile: RawFunction = async (input) => {
  const path = new TextDecoder().decode(input);
  while (!existsSync(path)) await Bun.sleep(1);
  return 0;
};

/** Echoes from a microtask. */
export const soon: RawFunction = async (input, output) => {
  await undefined;
  output.set(input);
  return input.length;
};

/** Never settles. */
export const pending: RawFunction = () => new Promise(() => {});

/** Computes for as many milliseconds as its input says. */
export const busy: RawFunction = (input) => {
  const until = performance.now() + new Uint32Array(input.buffer, input.byteOffset, 1)[0]!;
  while (performance.now() < until);
  return 0;
};

let calls = 0;
/** How often this worker has run it. */
export const count: RawFunction = (_input, output) => {
  new Uint32Array(output.buffer, output.byteOffset, 1)[0] = ++calls;
  return 4;
};

let ticks = 0;
setInterval(() => ticks++, 1).unref();
/** How often the module's own timer has run. */
export const timerTicks: RawFunction = (_input, output) => {
  new Uint32Array(output.buffer, output.byteOffset, 1)[0] = ticks;
  return 4;
};

/** Writes the eight bytes of the lease's memory that begin where its input says. */
export const peek: RawFunction = (input, output, { memory }) => {
  const at = new Uint32Array(input.buffer, input.byteOffset, 1)[0]!;
  output.set(new Uint8Array(memory, at, 8));
  return 8;
};
