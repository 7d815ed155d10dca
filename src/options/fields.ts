/**
 * What options are made of: a TypeBox schema each, which is the one place where an option's name, type, unit, default, bounds and
 * sentence stand. An options object has one schema; its type is derived from it, so that what compiles and what is accepted are the
 * same. `read.ts` reads objects by it, `flags.ts` the words of a command line; help and reference are written from it.
 */
import { Kind, type Static, type TSchema, TypeRegistry, Type } from "@sinclair/typebox";
import { UsageError } from "../base/errors.ts";
import {
  formatBytes,
  formatDuration,
  parseBytes,
  parseDuration,
  parseMoment,
} from "../base/units.ts";
import { parseAddress } from "../control/address.ts";
import { MAX_VARIABLES, environment } from "../protocol/fields.ts";

const SIZE = "rfaas:Size";
const SIGNAL = "rfaas:AbortSignal";

/** Timers reach no further: 24 days. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** What an option is for, and how the command line has it. */
export interface About {
  /** A clause, as help, errors and the reference have it. */
  description: string;
  /** As a program would write it; left out where the default is found out. */
  default?: unknown;
  /** How a default is found that is not fixed. */
  otherwise?: string;
  /** The variable of the environment that is asked where the option is not given. */
  variable?: string;
  /** The command line has this option of the library, too. Options of a command need not say so. */
  flag?: boolean;
  /** The letter that is short for it. */
  short?: string;
  /** What help calls its value. */
  placeholder?: string;
  /** Of a value that lists words with commas between them, which they are; shells complete them. */
  listOf?: readonly string[];
}

/** Makes the value of a text. `what` names the option in the {@link UsageError} that it throws. */
export type FromText = (text: string, what: string) => unknown;

/** As {@link FromText}, of an option that is given once for each of its parts. */
export type FromTexts = (texts: readonly string[], what: string) => unknown;

/** The same option where another sentence says it better, or where another default holds. */
export const worded = <Schema extends TSchema>(field: Schema, about: Partial<About>): Schema => ({
  ...field,
  ...about,
});

/** A whole number within bounds. */
export const whole = (minimum: number, maximum: number, about: About) =>
  Type.Integer({
    minimum,
    maximum,
    errorMessage: `must be a whole number from ${minimum} to ${maximum}`,
    fromText: numberOf,
    placeholder: "n",
    ...about,
  });

/** Whole milliseconds within bounds. */
export const milliseconds = (minimum: number, maximum: number, about: About) =>
  Type.Integer({
    minimum,
    maximum,
    unit: "ms",
    errorMessage: `must be a whole number of milliseconds from ${minimum} to ${maximum}`,
    ...durationText(minimum, maximum, "ms"),
    ...about,
  });

/** As {@link milliseconds}, for a command: a text such as `30s`. A number alone is of the unit `bare`, or refused where there is none. */
export const duration = (
  minimum: number,
  maximum: number,
  { bare, ...about }: About & { bare?: "s" },
) => milliseconds(minimum, maximum, { ...durationText(minimum, maximum, bare), ...about });

/** A time limit, in milliseconds and parts of them. */
export const limit = (about: About) =>
  Type.Number({
    exclusiveMinimum: 0,
    maximum: MAX_TIMER_MS,
    unit: "ms",
    errorMessage: `must be a number of milliseconds above 0, at most ${MAX_TIMER_MS}`,
    ...durationText(1, MAX_TIMER_MS, "ms"),
    ...about,
  });

/** A size such as `"2GiB"`, or bytes. */
export const size = (maximum: number, most: string, about: About, minimum = 1) =>
  Type.Unsafe<string | number>({
    [Kind]: SIZE,
    ...{ minimum, maximum },
    unit: "bytes",
    errorMessage: `must be a size such as "512MiB" or 4096, ${minimum === 1 ? "" : `at least ${formatBytes(minimum)} and `}at most ${most}`,
    fromText: (text: string, what: string) => bytesOf(text, what, minimum, maximum, most),
    placeholder: "size",
    ...about,
  });

/** Bytes, as a number. */
export const bytes = (minimum: number, maximum: number, about: About) =>
  Type.Integer({
    minimum,
    maximum,
    unit: "bytes",
    errorMessage: `must be a whole number of bytes from ${minimum} to ${maximum}`,
    fromText: (text: string, what: string) => bytesOf(text, what, minimum, maximum),
    placeholder: "size",
    ...about,
  });

/** On or off; off as a flag that is not given. */
export const truth = (about: About) =>
  Type.Boolean({ errorMessage: "must be true or false", ...about });

export const text = (what: string, about: About) =>
  Type.String({ minLength: 1, errorMessage: `must be ${what}`, placeholder: "text", ...about });

/** A list of texts; on a command line the option is given once for each. */
export const texts = (what: string, about: About) =>
  Type.Unsafe<readonly string[]>(
    Type.Array(Type.String({ errorMessage: `must be ${what}` }), {
      errorMessage: `must be a list, each of it ${what}`,
      placeholder: "text",
      ...about,
    }),
  );

/** Variables of an environment, by name; on a command line the option is given once for each, as `NAME=VALUE`. */
export const variables = (about: About) =>
  Type.Unsafe<Readonly<Record<string, string>>>({
    ...environment,
    errorMessage: `must be an object such as { LEVEL: "3" }: names of letters, digits and _, at most ${MAX_VARIABLES}, and texts`,
    placeholder: "name=value",
    fromTexts: variablesOf,
    ...about,
  });

/** One of a few words. */
export const choice = <const Word extends string>(words: readonly Word[], about: About) =>
  Type.Unsafe<Word>(
    Type.Union(
      words.map((word) => Type.Literal(word)),
      { errorMessage: `must be ${listed(words)}`, placeholder: words.join("|"), ...about },
    ),
  );

/** A socket path or `HOST:PORT`, as text. */
export const address = (about: About) =>
  text("a socket path or HOST:PORT", { placeholder: "address", ...readBy(addressOf), ...about });

/** `HOST:PORT`, as text, of what is reached by TCP only, such as a manager. */
export const tcpAddress = (what: string, about: About) =>
  text(what, { placeholder: "address", ...readBy(tcpAddressOf), ...about });

/** As {@link tcpAddress}, of one or several with commas between. */
export const tcpAddresses = (what: string, about: About) =>
  text(what, { placeholder: "address", ...readBy(tcpAddressesOf), ...about });

/** Milliseconds since 1970; as text a date, a time, or how long ago it was. */
export const moment = (about: About) =>
  Type.Integer({
    unit: "ms",
    errorMessage: "must be a time in milliseconds since 1970",
    placeholder: "time",
    fromText: (text: string, what: string) => parseMoment(text, what, Date.now()),
    ...about,
  });

/** What a text stands for. `read` throws a {@link UsageError} that names the option as `what`. */
export const readAs = <Value>(read: (text: string, what: string) => Value, about: About) =>
  Type.Unsafe<Value>(
    Type.Unknown({ errorMessage: "is wrong", placeholder: "text", ...readBy(read), ...about }),
  );

/** A function that a program gives. */
export const callback = <Callback extends (...args: never) => unknown>(about: About) =>
  Type.Unsafe<Callback>(
    Type.Function([], Type.Unknown(), { errorMessage: "must be a function", ...about }),
  );

/** A signal that ends a wait. */
export const abortSignal = (about: About) =>
  Type.Unsafe<AbortSignal>({
    [Kind]: SIGNAL,
    errorMessage: "must be an AbortSignal, such as that of an AbortController",
    ...about,
  });

/** The options of an asynchronous method that takes nothing but a signal. */
export const signalField = {
  /** Ends the wait: undoes what the method began, and rejects its promise with the signal's reason. */
  signal: Type.Optional(
    abortSignal({ description: "ends the wait and undoes what the method began" }),
  ),
};

/** A field that need not be given, or is given as undefined by a program that only passes it on. */
export const perhaps = <Schema extends TSchema>(schema: Schema) =>
  Type.Optional(Type.Unsafe<Static<Schema> | undefined>(schema));

interface Bounds {
  minimum: number;
  maximum: number;
}

TypeRegistry.Set<TSchema & Bounds>(SIZE, ({ minimum, maximum }, value) => {
  if (typeof value !== "string" && !Number.isInteger(value)) return false;
  try {
    const bytes = parseBytes(value as string | number, "it");
    return bytes >= minimum && bytes <= maximum;
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

const readBy = (fromText: FromText): { fromText: FromText } => ({ fromText });

/** A number that is written out as such; `1e9` and `007` are none, and left for the check to refuse. */
function numberOf(text: string): string | number {
  return /^-?[\d.]+$/.test(text) && String(Number(text)) === text ? Number(text) : text;
}

function durationText(minimum: number, maximum: number, bare: "ms" | "s" | undefined) {
  const fromText = (text: string, what: string): number => {
    const ms = parseDuration(text, what, bare);
    if (ms >= minimum && ms <= maximum) return ms;
    throw new UsageError(
      `${what} must be from ${formatDuration(minimum)} to ${formatDuration(maximum)}; it is ${JSON.stringify(text)}`,
    );
  };
  return { fromText, bare, placeholder: "duration" };
}

function bytesOf(
  text: string,
  what: string,
  minimum: number,
  maximum: number,
  most = formatBytes(maximum),
): number {
  if (minimum === 0 && text === "0") return 0;
  const bytes = parseBytes(text, what);
  const bound =
    bytes < minimum ? `least ${formatBytes(minimum)}` : bytes > maximum ? `most ${most}` : "";
  if (bound !== "") throw new UsageError(`${what} is at ${bound}; it is ${JSON.stringify(text)}`);
  return bytes;
}

function variablesOf(texts: readonly string[], what: string): Record<string, string> {
  const split = texts.map((text) => {
    const at = text.indexOf("=");
    if (at < 1) throw new UsageError(`${what} must be NAME=VALUE; it is ${JSON.stringify(text)}`);
    return [text.slice(0, at), text.slice(at + 1)] as const;
  });
  return Object.fromEntries(split);
}

function addressOf(text: string, what: string): string {
  try {
    parseAddress(text);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(`${what}: ${error.message}`);
  }
  return text;
}

function tcpAddressOf(text: string, what: string): string {
  const { kind } = parseAddress(addressOf(text, what));
  if (kind === "unix") throw new UsageError(`${what} must be HOST:PORT; it is the path ${text}`);
  return text;
}

function tcpAddressesOf(text: string, what: string): string {
  for (const one of text.split(",")) tcpAddressOf(one, what);
  return text;
}
