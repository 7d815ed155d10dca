/** Functions that reach for memory that is not theirs, or that they no longer have, for the tests. */
import {
  type RawFunction,
  Type,
  defineFunction,
  struct,
  typedArray,
} from "../../src/function/index.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const words = (bytes: Bytes) => new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);

export const echo: RawFunction = (input, output) => {
  output.set(input.subarray(0, output.length));
  return Math.min(input.length, output.length);
};

/** Input: milliseconds, a number to write, and 1 to write it before the wait. Heeds no signal. */
export const slow: RawFunction = async (input, output) => {
  const [ms, id, early] = words(input);
  if (early) words(output)[0] = id!;
  await wait(ms!);
  if (!early) words(output)[0] = id!;
  return 8;
};

/** Ends with its deadline, but leaves work behind that writes later. */
export const leavesWorkBehind: RawFunction = async (input, output, { invocation }) => {
  const work = slow(input, output, undefined as never) as Promise<number>;
  const given = new Promise<never>((_, reject) =>
    invocation.signal.addEventListener("abort", () => reject(invocation.signal.reason)),
  );
  return await Promise.race([work, given]);
};

/** Has written all it has to say when it resolves, and writes on. */
export const writesOn: RawFunction = async (input, output) => {
  await undefined;
  output.fill(1);
  setTimeout(() => {
    for (let i = 0; i < 4096; i++) input[i] = output[i] = 0xbad;
  }, 20);
  return output.length;
};

/** Occupies its thread after it has once waited. */
export const spinsLater: RawFunction = async () => {
  await undefined;
  for (;;);
};

export const slowValue = defineFunction(
  { input: Type.Object({ ms: Type.Number(), id: Type.String() }), output: Type.String() },
  async ({ ms, id }) => {
    await wait(ms);
    return id;
  },
);

export const slowStruct = defineFunction(
  {
    input: struct({ ms: "f64", id: "f64", early: "u8" }),
    output: struct({ id: "f64", filling: ["f64", 10] }),
  },
  async (input, output) => {
    const { ms, id, early } = input;
    if (early) output.id = id;
    await wait(ms);
    if (!early) output.id = id;
  },
);

/** The classic mistake: `.buffer` without `byteOffset` and `length`. */
export const careless: RawFunction = (input, output) => {
  new Uint8Array(output.buffer).fill(7);
  new Uint8Array(input.buffer).fill(7);
  return output.length;
};

/** How many bytes can be reached through the input's buffer, and through the output's. */
export const reach: RawFunction = (input, output) => {
  const view = new DataView(output.buffer, output.byteOffset, output.byteLength);
  view.setUint32(0, input.buffer.byteLength, true);
  view.setUint32(4, output.buffer.byteLength, true);
  return 8;
};

/** Takes its memory away from itself. */
export const detaches: RawFunction = (input, output, { memory }) => {
  input.buffer.transfer();
  structuredClone(output.buffer, { transfer: [output.buffer] });
  if (memory.byteLength > 0) memory.transfer();
  return 8;
};

const kept: Float32Array[] = [];

/** The sum of what it was given the last time, as far as that is still there. */
export const keeps = defineFunction(
  { input: typedArray("Float32Array"), output: Type.Number() },
  (numbers) => {
    const before = kept.pop();
    if (before !== undefined) return before.reduce((sum, n) => sum + n, 0);
    kept.push(numbers);
    return -1;
  },
);
