/** Functions of leases that replace what they lose. */
import { Type, defineFunction, struct } from "rfaas/function";
import type { RawFunction } from "../../src/function/index.ts";

/** Another one in each process: in a room, all have the same number. */
const ID = Math.random();

/** Where it runs, and whether this worker has not completed a call before. */
export const where = defineFunction(
  { input: Type.Null(), output: Type.Object({ id: Type.Number(), cold: Type.Boolean() }) },
  (_, { cold }) => ({ id: ID, cold }),
);

export const slow = defineFunction(
  { input: Type.Number(), output: Type.Number() },
  async (n, { invocation }) => {
    await Bun.sleep(20 * (1 + invocation.attempt));
    return 2 * n;
  },
);

/** Never ends where the input names: a call that is made again elsewhere does. */
export const elsewhere: RawFunction = (input, output) => {
  const [id] = new Float64Array(input.buffer, input.byteOffset, 1);
  if (id === ID) return new Promise<number>(() => {});
  output.set(input.subarray(0, 8));
  return 8;
};

export const sum: RawFunction = (input, output) => {
  const numbers = new Float64Array(input.buffer, input.byteOffset, input.length / 8);
  new Float64Array(output.buffer, output.byteOffset, 1)[0] = numbers.reduce((a, b) => a + b, 0);
  return 8;
};

export const double = defineFunction(
  { input: struct({ value: "f64" }), output: struct({ value: "f64" }) },
  (input, output) => {
    output.value = 2 * input.value;
  },
);

export const kills = defineFunction({ input: Type.Null(), output: Type.Null() }, () => {
  process.kill(process.pid, "SIGKILL");
  return null;
});

/** Its worker ends soon after, and the other workers of its process go on. */
export const breaks: RawFunction = () => {
  setTimeout(() => {
    throw new Error("the worker breaks");
  }, 1);
  return 0;
};
