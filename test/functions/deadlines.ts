/** Functions that end when their deadline has passed, for the tests. */
import {
  type FunctionContext,
  type RawFunction,
  Type,
  defineFunction,
  struct,
} from "../../src/function/index.ts";

const aborted = ({ invocation: { signal } }: FunctionContext): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve());
  });

/** Occupies the thread until the time that it was told. */
function spin({ invocation }: FunctionContext): void {
  const until = invocation.deadline?.getTime() ?? 0;
  while (Date.now() < until);
}

async function poll({ invocation }: FunctionContext): Promise<void> {
  const until = invocation.deadline?.getTime() ?? 0;
  while (Date.now() < until) await new Promise((resolve) => setImmediate(resolve));
}

export const heeds: RawFunction = async (_input, output, ctx) => {
  await aborted(ctx);
  output[0] = 1;
  return 1;
};
export const throwsThen: RawFunction = async (_input, _output, ctx) => {
  await aborted(ctx);
  throw ctx.invocation.signal.reason;
};
export const spins: RawFunction = (_input, output, ctx) => {
  spin(ctx);
  output[0] = 1;
  return 1;
};
export const throwsSpun: RawFunction = (_input, _output, ctx) => {
  spin(ctx);
  throw new Error("too late");
};
export const polls: RawFunction = async (_input, output, ctx) => {
  await poll(ctx);
  output[0] = 1;
  return 1;
};

const values = { input: Type.Integer(), output: Type.Uint8Array() };
export const heedsValue = defineFunction(values, async (length, ctx) => {
  await aborted(ctx);
  return new Uint8Array(length);
});
export const spinsValue = defineFunction(values, (length, ctx) => {
  spin(ctx);
  return new Uint8Array(length);
});
export const heedsStruct = defineFunction(
  { input: struct({ n: "f64" }), output: struct({ n: "f64" }) },
  async (_input, output, ctx) => {
    await aborted(ctx);
    output.n = 1;
  },
);
export const prompt: RawFunction = async (input, output) => {
  await undefined;
  output.set(input);
  return input.length;
};
