/** Typed functions, for the tests. */
import { Type, defineFunction, defineHooks, struct, typedArray } from "rfaas/function";

const Option = Type.Object({
  spot: Type.Number({ exclusiveMinimum: 0 }),
  strike: Type.Number(),
  kind: Type.Union([Type.Literal("call"), Type.Literal("put")]),
  note: Type.Optional(Type.String()),
});

export const payoff = defineFunction(
  {
    input: Option,
    output: Type.Object({ value: Type.Number(), note: Type.Optional(Type.String()) }),
  },
  ({ spot, strike, kind, note }) => ({
    value: Math.max(0, kind === "call" ? spot - strike : strike - spot),
    ...(note === undefined ? {} : { note }),
  }),
);

/** Whatever travels. */
export const mirror = defineFunction({ input: Type.Any(), output: Type.Any() }, (value) => value);

export const later = defineFunction(
  { input: Type.Object({ ms: Type.Number() }), output: Type.String() },
  async ({ ms }, { invocation }) => {
    await Bun.sleep(ms);
    return invocation.id;
  },
);

/** So many bytes, which no caller can know beforehand; counts how often it runs. */
export const produce = defineFunction(
  { input: Type.Integer(), output: Type.Object({ runs: Type.Number(), bytes: Type.Uint8Array() }) },
  (length, { state }) => {
    const runs = ((state.get("runs") as number | undefined) ?? 0) + 1;
    state.set("runs", runs);
    return { runs, bytes: new Uint8Array(length).fill(length) };
  },
);

export const wrong = defineFunction(
  { input: Type.Null(), output: Type.Object({ list: Type.Array(Type.Number()) }) },
  () => ({ list: [1, "two" as never] }),
);

/** Returns what cannot travel. */
export const untravelled = defineFunction({ input: Type.Null(), output: Type.Any() }, () => ({
  inner: [() => 1],
}));

export const failing = defineFunction(
  { input: Type.Boolean(), output: Type.Null() },
  (retryable): null => {
    const root = Object.assign(new RangeError("the root"), { code: "E_ROOT" });
    throw Object.assign(new Error("it failed", { cause: new Error("why", { cause: root }) }), {
      retryable,
    });
  },
);

/** Whether the array it was given lies in the lease's memory. */
export const inPlace = defineFunction(
  {
    input: Type.Object({
      name: Type.String(),
      samples: typedArray("Float64Array", { maxLength: 1000 }),
    }),
    output: Type.Tuple([Type.Boolean(), Type.Number()]),
  },
  ({ samples }, { memory }): [boolean, number] => {
    const sum = samples.reduce((sum, value) => sum + value, 0);
    samples[0] = Math.E;
    return [new Float64Array(memory).includes(Math.E), sum];
  },
);

export const whereAndWho = defineFunction(
  { input: Type.Null(), output: Type.Any() },
  (_, { worker, workers, cold, invocation, state }) => ({
    worker,
    workers,
    cold,
    id: invocation.id,
    attempt: invocation.attempt,
    deadline: invocation.deadline,
    initialised: state.get("initialised"),
  }),
);

/** Works at the third attempt. */
export const thirdTime = defineFunction(
  { input: Type.Null(), output: Type.Integer() },
  (_, { invocation: { attempt } }) => {
    if (attempt < 3)
      throw Object.assign(new Error(`attempt ${attempt} is not enough`), { retryable: true });
    return attempt;
  },
);

/** Waits until its signal aborts, then notes why in the state, which `lastWords` tells. */
export const patient = defineFunction(
  { input: Type.Null(), output: Type.Null() },
  async (_, { invocation, state }): Promise<null> => {
    const { signal } = invocation;
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    state.set("last words", (signal.reason as Error).message);
    return null;
  },
);

/** Goes on after its call was aborted, and notes whether its context is still that of its own call. */
export const survivor = defineFunction(
  { input: Type.Null(), output: Type.Null() },
  async (_, ctx): Promise<null> => {
    const { id, signal } = ctx.invocation;
    ctx.progress(0, "begun");
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    while (ctx.state.get("survived") !== "wanted") await Bun.sleep(1);
    ctx.progress(1, "from the grave");
    ctx.state.set("survived", ctx.invocation.id === id && ctx.invocation.signal.aborted);
    return null;
  },
);

/** Says what the survivor has noted, and reports progress of its own. */
export const survived = defineFunction(
  { input: Type.Null(), output: Type.Any() },
  async (_, { state, progress }) => {
    state.set("survived", "wanted");
    while (state.get("survived") === "wanted") await Bun.sleep(1);
    progress(1, "alive");
    return state.get("survived");
  },
);

export const endless = defineFunction(
  { input: Type.Null(), output: Type.Null() },
  () => new Promise<null>(() => {}),
);

export const lastWords = defineFunction(
  { input: Type.Null(), output: Type.Union([Type.String(), Type.Null()]) },
  (_, { state }) => (state.get("last words") as string | undefined) ?? null,
);

export const talk = defineFunction(
  { input: Type.Integer(), output: Type.Null() },
  async (steps, { log, progress }) => {
    for (let step = 1; step <= steps; step++) {
      log.info(`step ${step}`, { step, of: steps, exact: 10n });
      progress(step / steps, `step ${step}`);
      await Bun.sleep(30);
    }
    return null;
  },
);

/** More lines than anyone may write. */
export const chatter = defineFunction(
  { input: Type.Integer(), output: Type.Null() },
  async (lines, { log }) => {
    for (let i = 0; i < lines; i++) log.debug(`line ${i}\nof many`);
    await Bun.sleep(100);
    log.warn("the last");
    return null;
  },
);

export const scale = defineFunction(
  {
    input: struct({ factor: "f64", count: "u32", values: ["f32", 16] }),
    output: struct({ sum: "f64", values: ["f32", 16] }),
  },
  ({ factor, count, values }, result) => {
    result.sum = 0;
    for (let i = 0; i < count; i++) {
      result.values[i] = factor * values[i]!;
      result.sum += result.values[i]!;
    }
  },
);

export const scaleLater = defineFunction(
  { input: struct({ value: "f64" }), output: struct({ value: "f64" }) },
  async (input, output) => {
    await Bun.sleep(5);
    output.value = 2 * input.value;
  },
);

/** By hand, what a library would make: text that becomes a number. */
const numeral = {
  "~standard": {
    version: 1 as const,
    vendor: "by-hand",
    validate: (value: unknown) => {
      const { n } = value as { n?: unknown };
      return typeof n === "string" && /^\d+$/.test(n)
        ? { value: { n: Number(n) } }
        : { issues: [{ message: "expected digits", path: ["n"] }] };
    },
    types: undefined as { input: { n: string }; output: { n: number } } | undefined,
  },
};
const asynchronous = {
  "~standard": {
    ...numeral["~standard"],
    validate: async (value: unknown) => {
      await Bun.sleep(1);
      return numeral["~standard"].validate(value);
    },
  },
};

export const digits = defineFunction({ input: numeral, output: Type.Number() }, ({ n }) => n + 1);
export const slowDigits = defineFunction(
  { input: asynchronous, output: Type.Number() },
  ({ n }) => n + 1,
);

export const raw = (input: Uint8Array, output: Uint8Array): number => {
  output.set(input);
  return input.length;
};

export const hooks = defineHooks({
  async init({ state, log, worker }) {
    await Bun.sleep(1);
    state.set("initialised", worker);
    log.info("initialised");
  },
  dispose: ({ log }) => log.info("disposed"),
});
