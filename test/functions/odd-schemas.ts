/** Functions whose schemas do what schemas should not, or rarely do. */
import { Type, defineFunction } from "rfaas/function";

/** A Standard Schema by hand. */
const schema = <Input = unknown, Output = Input>(validate: (value: never) => unknown) => ({
  "~standard": {
    version: 1 as const,
    vendor: "by hand",
    validate: validate as () => { value: Output },
    types: undefined as { input: Input; output: Output } | undefined,
  },
});

/** Returns whatever it is told to, which no library would. */
const RESULTS: Record<string, () => unknown> = {
  null: () => null,
  undefined: () => undefined,
  text: () => "fine",
  nothing: () => ({}),
  "no issues": () => ({ issues: [] }),
  "no issue": () => ({ issues: [null] }),
  "issues that are text": () => ({ issues: "wrong" }),
  "issues that cannot be read": () => ({
    get issues() {
      throw new Error("unreadable");
    },
  }),
  "a promise of null": async () => null,
  thrown: () => {
    throw Object.assign(new RangeError("broken"), { code: "E_BROKEN" });
  },
  rejected: async () => {
    throw Object.assign(new RangeError("broken"), { code: "E_BROKEN" });
  },
  "thrown text": () => {
    throw "broken";
  },
};
export const results = Object.keys(RESULTS);

/** The path of an issue, in every form that parts of it have. */
const PATHS: Record<string, unknown> = {
  "/": [],
  "/a/0/b": ["a", 0, "b"],
  "/list/1/n": [{ key: "list" }, { key: 1 }, { key: "n" }],
  "/Symbol(s)/x": [Symbol("s"), { key: "x" }],
  "/a~1b/~0": ["a/b", "~"],
  "/1/null": [1n, null],
  "/object": [{ key: Object.create(null) }],
};
export const paths = Object.keys(PATHS);

const odd = schema<string>((name) => {
  if (Object.hasOwn(RESULTS, name)) return RESULTS[name]!();
  if (!Object.hasOwn(PATHS, name)) return { value: name, issues: undefined };
  // As arktype has it: a list whose map makes lists of its own class.
  const path = new (class extends Array<unknown> {
    override map(): never {
      throw new Error("this is no array's map");
    }
  })();
  path.push(...(PATHS[name] as unknown[]));
  return { issues: [{ message: "it is wrong", path }] };
});
export const oddInput = defineFunction({ input: odd, output: Type.String() }, (name) => name);
export const oddOutput = defineFunction({ input: Type.String(), output: odd }, (name) => name);

/** Never answers to zero. */
const hanging = schema<number>((n) => (n === 0 ? new Promise(() => {}) : { value: n }));
export const hangingInput = defineFunction({ input: hanging, output: Type.Number() }, (n) => n);
export const hangingOutput = defineFunction({ input: Type.Number(), output: hanging }, (n) => n);

/** Answers later, with what it has made of the value. */
const later = schema<string>(async (text) => {
  await Bun.sleep(1);
  return { value: `${text as string}!` };
});
export const exclaim = defineFunction({ input: later, output: later }, (text) => text);

/** Changes what it is given. */
const counting = schema<{ n: number; list: number[] }>((value: { n: number; list: number[] }) => {
  value.n++;
  value.list.push(value.n);
  return { value };
});
export const count = defineFunction({ input: counting, output: Type.Any() }, (value) => value);

/** Takes nothing at all, too. */
const optional = schema<number | undefined, number>((value: number | undefined) => ({
  value: value ?? 7,
}));
export const orSeven = defineFunction({ input: optional, output: optional }, (n) =>
  n === 0 ? undefined : n,
);
