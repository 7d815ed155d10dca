/** What functions do with signals. */
import type { RawFunction } from "../../src/function/index.ts";

const JOBS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/** Listens to signals, which a worker's thread cannot hear, and takes the listeners of all away. */
export const listens: RawFunction = () => {
  for (const signal of JOBS) {
    process.on(signal, () => process.exit(3));
    process.removeAllListeners(signal);
    process.on(signal, () => process.exit(4));
  }
  return 0;
};

/** Starts a program that sleeps for as many seconds as its input says. */
export const sleeper: RawFunction = (input) => {
  const seconds = new Uint32Array(input.buffer, input.byteOffset, 1)[0]!;
  Bun.spawn(["sleep", String(seconds)], { stdio: ["ignore", "ignore", "ignore"] }).unref();
  return 0;
};

/** Waits on the event loop for as many milliseconds as its input says, then echoes. */
export const later: RawFunction = async (input, output) => {
  await Bun.sleep(new Uint32Array(input.buffer, input.byteOffset, 1)[0]!);
  output.set(input);
  return input.length;
};
