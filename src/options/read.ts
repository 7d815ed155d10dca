/** Checks options at the entry: reads each property once, checks it by the object's schema, and names a wrong one by its path. */
import { Kind, type Static, type TObject, type TSchema } from "@sinclair/typebox";
import { Value, type ValueError } from "@sinclair/typebox/value";
import { UsageError } from "../base/errors.ts";
import { parseDuration } from "../base/units.ts";
import { nearest } from "../base/near-names.ts";
import { show } from "../base/show.ts";

/**
 * Reads the options of `what`: a copy without properties that are undefined, all of them known and as the schema says. Nothing
 * that the program changes afterwards changes it.
 *
 * @throws {UsageError} with the `path` of the option that is wrong
 */
export function readOptions<Schema extends TObject>(
  what: string,
  schema: Schema,
  given: unknown,
): Static<Schema> {
  if (given === undefined) return {} as Static<Schema>;
  if (!isRecord(given))
    throw new UsageError(
      `the options of ${what} must be an object such as { ${exampleOf(schema)} }; they are ${show(given)}`,
      { path: "" },
    );
  const options = copied(what, schema, given, "");
  if (Value.Check(schema, options)) return options;
  throw wrongOption(what, Value.Errors(schema, options).First());
}

function copied(
  what: string,
  schema: TObject,
  given: Record<string, unknown>,
  within: string,
): Record<string, unknown> {
  const names = Object.keys(schema.properties);
  const copy: Record<string, unknown> = {};
  for (const name of names) {
    const value = given[name];
    if (value === undefined) continue;
    const part = schema.properties[name]!;
    if (Array.isArray(value)) copy[name] = [...value];
    else if (isObjectSchema(part) && isRecord(value))
      copy[name] = copied(what, part, value, `${within}${name}.`);
    else if (part[Kind] === "Record" && isRecord(value)) copy[name] = { ...value };
    else copy[name] = value;
  }
  for (const name of Object.keys(given))
    if (!Object.hasOwn(schema.properties, name) && given[name] !== undefined)
      throw unknownOption(what, `${within}${name}`, name, names);
  return copy;
}

function unknownOption(
  what: string,
  path: string,
  name: string,
  names: readonly string[],
): UsageError {
  const near = nearest(name, names);
  const hint = near === undefined ? "it takes" : `did you mean ${near}? It takes`;
  return new UsageError(`${what} has no option ${path}; ${hint} ${names.join(", ")}`, { path });
}

function wrongOption(what: string, error: ValueError | undefined): UsageError {
  // `/budget/calls` is `budget.calls`, `/include/0` is `include[0]`.
  const path = (error?.path ?? "")
    .slice(1)
    .replace(/\/(\d+)/g, "[$1]")
    .replaceAll("/", ".");
  const must = String(error?.schema["errorMessage"] ?? error?.message ?? "is wrong");
  if (error?.value === undefined)
    return new UsageError(`${path} ${must}; it is missing: give it to ${what}`, { path });
  return new UsageError(`${path} ${must}; it is ${show(error.value)}; ${remedy(what, error)}`, {
    path,
  });
}

function remedy(what: string, { schema, value }: ValueError): string {
  const ms = schema["unit"] === "ms" && typeof value === "string" ? durationOf(value) : undefined;
  if (ms !== undefined) return `write ${ms}`;
  const standard = schema.default === undefined ? "" : ` (${show(schema.default)})`;
  return `correct this option of ${what}, or leave it out for the default${standard}`;
}

function durationOf(text: string): number | undefined {
  try {
    return parseDuration(text, "it");
  } catch {
    return undefined;
  }
}

/** The first options that have a default, for a message. */
function exampleOf({ properties }: TObject): string {
  const shown = Object.entries(properties).filter(([, part]) => part.default !== undefined);
  return shown
    .slice(0, 2)
    .map(([name, part]) => `${name}: ${show(part.default)}`)
    .concat("..")
    .join(", ");
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isObjectSchema = (schema: TSchema): schema is TObject => schema[Kind] === "Object";
