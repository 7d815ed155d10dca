/** What a schema says of its fields, in words: for the help of a command, and for the reference. */
import type { TSchema } from "@sinclair/typebox";
import { Kind } from "@sinclair/typebox";
import { formatBytes, formatDuration } from "../base/units.ts";

/** The sentence of a flag, with its default. */
export function flagSentence(field: TSchema): string {
  const notes = [
    ...(field[Kind] === "Array" ? ["repeatable"] : []),
    ...(isDefault(field) ? [`default: ${defaultOf(field)}`] : []),
  ];
  return `${field.description}${bareUnit(field)}${notes.length === 0 ? "" : ` (${notes.join("; ")})`}`;
}

/** The default as it is written on a command line, or where it comes from; empty where there is none. */
export function defaultOf(field: TSchema): string {
  const variable = field["variable"] as string | undefined;
  const otherwise = shown(field) || ((field["otherwise"] as string | undefined) ?? "");
  if (variable === undefined) return otherwise;
  return `$${variable}${otherwise === "" ? "" : `, else ${otherwise}`}`;
}

function isDefault(field: TSchema): boolean {
  // A flag that is not given is off.
  return field[Kind] !== "Boolean" && defaultOf(field) !== "";
}

function shown({ default: value, unit }: TSchema & { unit?: string }): string {
  if (value === undefined) return "";
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
