/** Functions that misbehave, for the tests. */
import type { RawFunction } from "../../src/function/index.ts";

export const fine: RawFunction = () => 0;

export const throwsError: RawFunction = () => {
  throw Object.assign(new TypeError("the spot is negative"), { code: "E_SPOT" });
};

export const throwsString: RawFunction = () => {
  throw "just text";
};

export const throwsUndefined: RawFunction = () => {
  throw undefined;
};

export const throwsLong: RawFunction = () => {
  throw new Error("ü".repeat(100_000));
};

export const rejects: RawFunction = async () => {
  await undefined;
  throw new RangeError("too late");
};

export const returnsTooMuch: RawFunction = (_input, output) => output.length + 1;
export const returnsNegative: RawFunction = () => -1;
export const returnsFraction: RawFunction = () => 1.5;
export const returnsNaN: RawFunction = () => Number.NaN;
export const resolvesTooMuch: RawFunction = async (_input, output) => output.length + 1;
// What a function in plain JavaScript may do.
export const returnsText = (): unknown => "8";
export const returnsNothing = (): void => {};

export const exits: RawFunction = () => process.exit(3);
export const spins: RawFunction = () => {
  for (;;);
};
export const kills: RawFunction = () => {
  process.kill(process.pid, "SIGKILL");
  for (;;);
};
export const crashes: RawFunction = () => {
  process.kill(process.pid, "SIGSEGV");
  for (;;);
};

/** Uncaught, outside any call. */
export const throwsLater: RawFunction = () => {
  setTimeout(() => {
    throw new Error("nobody catches this");
  }, 1);
  return 0;
};

/** Gives away all the memory that it is handed, as its first byte says: at once, or from a microtask. */
export const transfers: RawFunction = (input, output, { memory }) => {
  const when = input[0]!;
  output.set(input);
  const length = input.length;
  const give = (): number => {
    for (const { buffer } of [input, output, { buffer: memory }])
      if (!buffer.detached) structuredClone(buffer, { transfer: [buffer] });
    return length;
  };
  return when === 0 ? give() : Promise.resolve().then(give);
};

const hoard: unknown[] = [];
export const hoardsBuffers: RawFunction = () => {
  for (;;) hoard.push(new Uint8Array(16 << 20).fill(1));
};
export const hoardsObjects: RawFunction = () => {
  for (let i = 0; ; i++) hoard.push({ i, next: [i, i, i, String(i)] });
};

/** Writes beyond its output, within the lease's memory. */
export const writesElsewhere: RawFunction = (_input, output) => {
  output[output.length] = 1;
  return output.length;
};
