/** Functions on values of every kind, and errors of every kind, for the tests. */
import { Type, defineFunction } from "rfaas/function";
import { SAMPLES } from "../support/battery/battery.ts";
import { difference } from "../support/battery/difference.ts";

const ANY = { input: Type.Any(), output: Type.Any() };

const made = (name: string): unknown => SAMPLES.find((sample) => sample.name === name)!.make();

export const mirror = defineFunction(ANY, (value) => value);

/** A value of the battery, made here. */
export const give = defineFunction({ input: Type.String(), output: Type.Any() }, (name) =>
  made(name),
);

export const giveLater = defineFunction(
  { input: Type.String(), output: Type.Any() },
  async (name) => {
    await Bun.sleep(0);
    return made(name);
  },
);

/** How the value that has come differs from that of the battery. */
export const compare = defineFunction(
  {
    input: Type.Object({ name: Type.String(), value: Type.Any() }),
    output: Type.Union([Type.String(), Type.Null()]),
  },
  ({ name, value }) => difference(made(name), value) ?? null,
);

/** So many levels of pairs of the same pair. */
export const pairs = defineFunction({ input: Type.Integer(), output: Type.Any() }, (levels) => {
  let value: unknown = "x";
  for (let i = 0; i < levels; i++) value = [value, value];
  return value;
});

const Numbered = Type.Object({ n: Type.Number() });
const Chain = Type.Recursive((This) => Type.Object({ next: Type.Optional(This) }));

export const numbered = defineFunction({ input: Numbered, output: Numbered }, (value) => value);
export const chain = defineFunction({ input: Chain, output: Chain }, (value) => value);

/** What no schema can look at. */
export const UNSEEN: Record<string, () => unknown> = {
  getter: () => ({
    get n(): number {
      throw new Error("no");
    },
  }),
  circle: () => {
    const part: { next?: unknown } = {};
    return Object.assign(part, { next: part });
  },
  depth: () => {
    let part = {};
    for (let i = 0; i < 100_000; i++) part = { next: part };
    return part;
  },
};
export const giveNumbered = defineFunction(
  { input: Type.String(), output: Numbered },
  (name) => UNSEEN[name]!() as never,
);
export const giveChain = defineFunction(
  { input: Type.String(), output: Chain },
  (name) => UNSEEN[name]!() as never,
);

export const never = defineFunction(ANY, () => new Promise(() => {}));

export const neverWithin = defineFunction(ANY, () => ({ list: [new Promise(() => {})] }));

/** A schema whose answer never comes. */
const hanging = {
  "~standard": {
    version: 1 as const,
    vendor: "by-hand",
    validate: () => new Promise<{ value: unknown }>(() => {}),
    types: undefined as { input: unknown; output: unknown } | undefined,
  },
};
export const neverIn = defineFunction({ input: hanging, output: Type.Any() }, (value) => value);
export const neverOut = defineFunction({ input: Type.Any(), output: hanging }, (value) => value);

/** Overwrites its own result while that is being encoded. */
export const scribble = defineFunction(ANY, (_, { memory }) => [
  1,
  {
    get last() {
      new Uint8Array(memory).fill(0xc1);
      return 2;
    },
  },
]);

// ---- errors ----

export const all = (): Promise<number> =>
  Promise.any([Promise.reject(new Error("disk full")), Promise.reject(new Error("no route"))]);

export const http = (): number => {
  const details = { code: 404, status: 404, response: { body: "x" } };
  throw Object.assign(new Error("not found"), details);
};

export const system = async (): Promise<number> =>
  (await Bun.file("/nowhere/at/all").bytes()).length;

export const object = (): number => {
  throw { reason: "an object", n: 3 };
};

export const gathered = defineFunction(ANY, async () => await all());
