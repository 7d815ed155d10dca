/** What a schema says of its fields, in words: for the help of a command, and for the reference. */
import { Kind, type TSchema } from "@sinclair/typebox";
import { formatBytes, formatDuration } from "../base/units.ts";

/** The sentence of a flag, with its default. */
export function flagSentence(field: TSchema): string {
  // A flag that is not given is off.
  const standard = field[Kind] === "Boolean" ? "" : flagDefault(field);
  const notes = [
    ...(field[Kind] === "Array" ? ["repeatable"] : []),
    ...(standard === "" ? [] : [`default: ${standard}`]),
  ];
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
  if (typeof value !== "number") return String(value);
  if (unit === "ms") return formatDuration(value);
  if (unit === "bytes") return formatBytes(value).replace(" ", "");
  return String(value);
}

/** How a duration may be written. */
function bareUnit({ bare }: TSchema): string {
  if (bare === undefined) return "";
  return bare === "s" ? ", as 5m or in seconds" : ", as 5s or in milliseconds";
}
