/** What a schema says of its fields, in words: for the help of a command, and for the reference. */
import { Kind, type TSchema } from "@sinclair/typebox";
import { formatBytes, formatDuration } from "../base/units.ts";

/** A bound that is so far away is not worth a word. */
const FAR = { ms: 2 ** 31 - 1, bytes: 2 ** 50, count: 2 ** 31 - 1 };

/** The sentence of a flag, with its bounds and its default. */
export function flagSentence(field: TSchema): string {
  // A flag that is not given is off.
  const standard = field[Kind] === "Boolean" ? "" : flagDefault(field);
  const notes = [
    field[Kind] === "Array" || field["fromTexts"] !== undefined ? "repeatable" : boundsOf(field),
    standard === "" ? "" : `default: ${standard}`,
  ].filter((note) => note !== "");
  return `${field.description}${bareUnit(field)}${notes.length === 0 ? "" : ` (${notes.join("; ")})`}`;
}

/** The default as a command line has it, or where it comes from; empty where there is none. */
export const flagDefault = (field: TSchema): string => defaultOf(field, written);

/** The default as a program would write it, or where it comes from; empty where there is none. */
export const programDefault = (field: TSchema): string =>
  defaultOf(field, ({ default: value }) => `\`${JSON.stringify(value)}\``);

/** What a field takes, in the words of its errors: `a whole number from 1 to 64`. */
export const valueOf = (field: TSchema): string =>
  String(field["errorMessage"]).replace(/^must be /, "");

function defaultOf(field: TSchema, shown: (field: TSchema) => string): string {
  const variable = field["variable"] as string | undefined;
  const otherwise =
    field.default === undefined ? ((field["otherwise"] as string) ?? "") : shown(field);
  if (variable === undefined) return otherwise;
  return `$${variable}${otherwise === "" ? "" : `, else ${otherwise}`}`;
}

/** As it is written on a command line. */
function written({ default: value, unit }: TSchema & { unit?: string }): string {
  return typeof value === "number" ? withUnit(value, unit) : String(value);
}

function withUnit(value: number, unit: string | undefined): string {
  if (unit === "ms") return formatDuration(value);
  return unit === "bytes" ? formatBytes(value).replace(" ", "") : String(value);
}

function boundsOf(field: TSchema): string {
  const { minimum, maximum, unit } = field as { minimum?: number; maximum?: number; unit?: string };
  if (maximum === undefined) return "";
  if (unit === "ms" || unit === "bytes")
    return maximum < FAR[unit] ? `at most ${withUnit(maximum, unit)}` : "";
  return maximum < FAR.count ? `${minimum} to ${maximum}` : "";
}

/** How a duration may be written. */
function bareUnit({ bare }: TSchema): string {
  if (bare === undefined) return "";
  return bare === "s" ? ", as 5m or in seconds" : ", as 5s or in milliseconds";
}
