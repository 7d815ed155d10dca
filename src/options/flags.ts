/**
 * A schema as a command line has it: a flag for each field, whose name is the field's in kebab case without its unit. The words that
 * were given become values by the schema; errors name the flag.
 */
import { Kind, OptionalKind, type Static, type TObject, type TSchema } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { UsageError } from "../base/errors.ts";
import { show } from "../base/show.ts";
import type { FromText, FromTexts } from "./fields.ts";

export interface Flag {
  /** The field's, as a program has it. */
  name: string;
  long: string;
  short: string | undefined;
  /** What help calls its value; undefined for a flag that takes none. */
  placeholder: string | undefined;
  field: TSchema;
}

/** The given flags by field: texts, or true for a flag without a value; in the order of the command line. */
export type Written = Readonly<Record<string, readonly (string | true)[]>>;

export function flagsOf({ properties }: TObject): Flag[] {
  return Object.entries(properties as Record<string, TSchema>).map(([name, field]) => ({
    name,
    long: longOf(name, field),
    short: field["short"] as string | undefined,
    placeholder:
      field[Kind] === "Boolean" ? undefined : ((field["placeholder"] as string) ?? "value"),
    field,
  }));
}

/** The fields of a library's options that the command line has, too. */
export function marked<Schema extends TObject>({ properties }: Schema): Schema["properties"] {
  const fields = Object.entries(properties as Record<string, TSchema>);
  return Object.fromEntries(fields.filter(([, field]) => field["flag"] === true));
}

/** Of the options of a command those that are {@link marked} in the library's schema, for the library. */
export function optionsFor<Schema extends TObject>(
  schema: Schema,
  options: Partial<Record<string, unknown>>,
): Partial<Static<Schema>> {
  const given = Object.keys(marked(schema)).filter((name) => options[name] !== undefined);
  return Object.fromEntries(given.map((name) => [name, options[name]])) as Partial<Static<Schema>>;
}

/**
 * The options that were written.
 *
 * @throws {UsageError} that names the first flag that is wrong, in the schema's order
 */
export function readFlags<Schema extends TObject>(
  schema: Schema,
  written: Written,
): Static<Schema> {
  const options: Record<string, unknown> = {};
  for (const flag of flagsOf(schema)) {
    const words = written[flag.name];
    if (words !== undefined) options[flag.name] = valueOf(flag, words);
    else if (flag.field[OptionalKind] === undefined)
      throw new UsageError(`${spelled(flag)} is missing; give it: ${usageOf(flag)}`);
  }
  return options as Static<Schema>;
}

/**
 * What the environment says of a field that was not given; undefined when it says nothing, or the field has no variable.
 *
 * @throws {UsageError} that names the variable
 */
export function inherited<Schema extends TObject, Name extends keyof Static<Schema> & string>(
  schema: Schema,
  name: Name,
): Static<Schema>[Name] | undefined {
  const field = (schema.properties as Record<string, TSchema>)[name]!;
  const variable = field["variable"] as string | undefined;
  const text = variable === undefined ? undefined : process.env[variable];
  return text ? (checked(field, text, variable!) as Static<Schema>[Name]) : undefined;
}

/** `-n, --repeat <n>` */
export function usageOf({ short, long, placeholder }: Flag): string {
  return `${short === undefined ? "" : `-${short}, `}--${long}${placeholder === undefined ? "" : ` <${placeholder}>`}`;
}

function valueOf(flag: Flag, words: readonly (string | true)[]): unknown {
  const { field } = flag;
  if (field[Kind] === "Array")
    return words.map((word) => checked(field["items"] as TSchema, word, spelled(flag)));
  const fromTexts = field["fromTexts"] as FromTexts | undefined;
  if (fromTexts) {
    const value = fromTexts(words.map(String), spelled(flag));
    if (Value.Check(field, value)) return value;
    throw new UsageError(`${spelled(flag)} ${String(field["errorMessage"])}; it is ${show(value)}`);
  }
  if (words.length > 1) throw new UsageError(`${spelled(flag)} is given more than once`);
  return checked(field, words[0]!, spelled(flag));
}

function checked(field: TSchema, word: string | true, what: string): unknown {
  const fromText = field["fromText"] as FromText | undefined;
  const value = typeof word === "string" && fromText ? fromText(word, what) : word;
  if (Value.Check(field, value)) return value;
  throw new UsageError(`${what} ${String(field["errorMessage"])}; it is ${show(value)}`);
}

const spelled = ({ long }: Flag): string => `--${long}`;

function longOf(name: string, field: TSchema): string {
  const bare = field["unit"] === undefined ? name : name.replace(/(?:Ms|Ns|Bytes)$/, "");
  return bare.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
