/**
 * What options are made of: a schema each, with what is said of it in help and in errors. An options object has one schema; its
 * type is derived from it, so that what compiles and what is accepted are the same.
 */
import { Kind, type TSchema, TypeRegistry, Type } from "@sinclair/typebox";
import { parseBytes } from "../../base/units.ts";

const SIZE = "rfaas:Size";
const SIGNAL = "rfaas:AbortSignal";

/** Timers reach no further: 24 days. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** What an option is for, in the words of a help text. */
export interface About {
  description: string;
  /** As a program would write it; left out where the default is found out. */
  default?: unknown;
}

/** A whole number within bounds. */
export const whole = (minimum: number, maximum: number, about: About) =>
  Type.Integer({
    minimum,
    maximum,
    errorMessage: `must be a whole number from ${minimum} to ${maximum}`,
    ...about,
  });

/** Whole milliseconds within bounds. */
export const milliseconds = (minimum: number, maximum: number, about: About) =>
  Type.Integer({
    minimum,
    maximum,
    unit: "ms",
    errorMessage: `must be a whole number of milliseconds from ${minimum} to ${maximum}`,
    ...about,
  });

/** A time limit, in milliseconds and parts of them. */
export const limit = (about: About) =>
  Type.Number({
    exclusiveMinimum: 0,
    maximum: MAX_TIMER_MS,
    unit: "ms",
    errorMessage: `must be a number of milliseconds above 0, at most ${MAX_TIMER_MS}`,
    ...about,
  });

/** A size such as `"2GiB"`, or bytes. */
export const size = (maximum: number, most: string, about: About) =>
  Type.Unsafe<string | number>({
    [Kind]: SIZE,
    maximum,
    unit: "bytes",
    errorMessage: `must be a size such as "512MiB" or 4096, at most ${most}`,
    ...about,
  });

/** Bytes, as a number. */
export const bytes = (minimum: number, maximum: number, about: About) =>
  Type.Integer({
    minimum,
    maximum,
    unit: "bytes",
    errorMessage: `must be a whole number of bytes from ${minimum} to ${maximum}`,
    ...about,
  });

export const truth = (about: About) =>
  Type.Boolean({ errorMessage: "must be true or false", ...about });

export const text = (what: string, about: About) =>
  Type.String({ minLength: 1, errorMessage: `must be ${what}`, ...about });

export const texts = (what: string, about: About) =>
  Type.Unsafe<readonly string[]>(
    Type.Array(Type.String({ errorMessage: `must be ${what}` }), {
      errorMessage: `must be a list, each of it ${what}`,
      ...about,
    }),
  );

/** One of a few words. */
export const choice = <const Word extends string>(words: readonly Word[], about: About) =>
  Type.Unsafe<Word>(
    Type.Union(
      words.map((word) => Type.Literal(word)),
      { errorMessage: `must be ${listed(words)}`, ...about },
    ),
  );

/** A function that a program gives. */
export const callback = <Callback extends (...args: never) => unknown>(about: About) =>
  Type.Unsafe<Callback>(
    Type.Function([], Type.Unknown(), { errorMessage: "must be a function", ...about }),
  );

/** What ends the waiting for something. */
export const abortSignal = (about: About) =>
  Type.Unsafe<AbortSignal>({
    [Kind]: SIGNAL,
    errorMessage: "must be an AbortSignal, such as that of an AbortController",
    ...about,
  });

/** What every asynchronous call takes that has nothing else to ask for. */
export const signalField = {
  /** Ends the waiting: what was begun is undone, and the promise rejects with the signal's reason. */
  signal: Type.Optional(abortSignal({ description: "ends the waiting; what was begun is undone" })),
};

TypeRegistry.Set<TSchema & { maximum: number }>(SIZE, ({ maximum }, value) => {
  if (typeof value !== "string" && !Number.isInteger(value)) return false;
  try {
    return parseBytes(value as string | number, "it") <= maximum;
  } catch {
    return false;
  }
});

// One of another realm, or of a library from before there was one, does as well.
TypeRegistry.Set(SIGNAL, (_, value) => {
  if (value instanceof AbortSignal) return true;
  if (typeof value !== "object" || value === null) return false;
  const { aborted, addEventListener, removeEventListener } = value as Partial<AbortSignal>;
  return (
    typeof aborted === "boolean" &&
    typeof addEventListener === "function" &&
    typeof removeEventListener === "function"
  );
});

const listed = (words: readonly string[]): string =>
  `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
