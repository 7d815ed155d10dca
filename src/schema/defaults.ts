/**
 * Defaults of TypeBox schemas: what is missing, or undefined, becomes its schema's `default`. TypeBox has a function for this that
 * changes the value it is given, makes lists of pairs of sets, and merges typed arrays; this one leaves what it is given alone.
 */
import { Kind, type TSchema } from "@sinclair/typebox";
import { Check } from "@sinclair/typebox/value";

/** Returns the value with its defaults: itself, where none is missing. */
export type Fill = (value: unknown) => unknown;

type Properties = Record<string, unknown>;

/** What a schema stands in. */
interface Surroundings {
  /** Schemas that parts refer to, by `$id`. */
  readonly named: ReadonlyMap<string, TSchema>;
  /** Those of which a missing value is being made: a recursive type would have no end. */
  readonly making: readonly TSchema[];
}

/** What fills values of the schema; undefined for a schema without defaults. */
export function compileDefaults(schema: TSchema): Fill | undefined {
  return hasDefault(schema, new Set())
    ? (value) => fill(schema, value, { named: new Map(), making: [] })
    : undefined;
}

/** Whether a missing value may become something: of a reference, that depends on what it refers to. */
export function mayBeMissing(schema: TSchema): boolean {
  if (Object.hasOwn(schema, "default") || REFERENCES.has(schema[Kind])) return true;
  return COMPOUNDS.has(schema[Kind]) && hasDefault(schema, new Set());
}

const REFERENCES: ReadonlySet<string> = new Set(["Ref", "This", "Import"]);
const COMPOUNDS: ReadonlySet<string> = new Set(["Union", "Intersect"]);

/** Whether any part of a schema has one. */
function hasDefault(part: unknown, seen: Set<object>): boolean {
  if (typeof part !== "object" || part === null || seen.has(part)) return false;
  seen.add(part);
  const isSchema = Kind in part;
  if (isSchema && Object.hasOwn(part, "default")) return true;
  return Object.entries(part).some(
    ([key, inner]) => !(isSchema && DATA.has(key)) && hasDefault(inner, seen),
  );
}

/** Keywords that hold values, not schemas. */
const DATA: ReadonlySet<string> = new Set(["const", "enum", "examples", "required"]);

function fill(schema: TSchema, given: unknown, outside: Surroundings): unknown {
  const value = withDefault(schema, given);
  const making = given === undefined ? [...outside.making, schema] : outside.making;
  const named =
    schema.$id === undefined ? outside.named : new Map(outside.named).set(schema.$id, schema);
  const inner = (part: TSchema, of: unknown) => fill(part, of, { named, making });
  const referred = (target: TSchema | undefined, names: Surroundings["named"]): unknown => {
    if (target === undefined || (value === undefined && making.includes(target))) return value;
    return fill(target, value, { named: names, making });
  };
  switch (schema[Kind]) {
    case "Object":
      return isPlain(value) ? fillObject(schema, value, inner) : value;
    case "Record": {
      const [[pattern, part] = ["", undefined]] = Object.entries<TSchema>(
        schema["patternProperties"],
      );
      if (!isPlain(value) || part === undefined) return value;
      const names = Object.keys(value).filter((name) => new RegExp(pattern).test(name));
      return fillProperties(value, names, (name) => inner(part, value[name]));
    }
    case "Array":
      return Array.isArray(value) ? fillList(value, () => schema["items"], inner) : value;
    case "Tuple": {
      if (!Array.isArray(value)) return value;
      const items: TSchema[] = schema["items"] ?? [];
      // The last ones may be missing.
      const missing = items.slice(value.length).map((item) => inner(item, undefined));
      const last = missing.findLastIndex((item) => item !== undefined) + 1;
      const there = fillList(value, (index) => items[index], inner);
      return last === 0 ? there : [...there, ...missing.slice(0, last)];
    }
    case "Intersect":
      return (schema["allOf"] as TSchema[]).reduce((filled, part) => inner(part, filled), value);
    case "Union": {
      const references = [...named.values()];
      for (const part of schema["anyOf"] as TSchema[]) {
        const filled = inner(part, value);
        if (Check(part, references, filled)) return filled;
      }
      return value;
    }
    case "Import": {
      const definitions: Record<string, TSchema> = schema["$defs"];
      const all = new Map(named);
      for (const [name, part] of Object.entries(definitions)) all.set(part.$id ?? name, part);
      return referred(definitions[schema["$ref"]], all);
    }
    case "This":
    case "Ref":
      return referred(named.get(schema["$ref"]), named);
    default:
      return value;
  }
}

/** An object that is there takes what it lacks from a default that is an object, as in TypeBox. */
function withDefault(schema: TSchema, value: unknown): unknown {
  if (!Object.hasOwn(schema, "default")) return value;
  if (value !== undefined && !isPlain(value)) return value;
  const given: unknown = schema.default;
  const fallback: unknown = typeof given === "function" ? given() : structuredClone(given);
  if (value === undefined) return fallback;
  if (!isPlain(fallback) || !isPlain(value)) return value;
  const lacking = Object.keys(fallback).some((name) => !Object.hasOwn(value, name));
  return lacking ? { ...fallback, ...value } : value;
}

type Inner = (part: TSchema, of: unknown) => unknown;

function fillObject(schema: TSchema, value: Properties, inner: Inner): Properties {
  const properties: Record<string, TSchema> = schema["properties"];
  const known = Object.keys(properties);
  const filled = fillProperties(value, known, (name) =>
    inner(properties[name]!, Object.hasOwn(value, name) ? value[name] : undefined),
  );
  const others: unknown = schema["additionalProperties"];
  if (typeof others !== "object" || others === null) return filled;
  const unknown = Object.keys(value).filter((name) => !Object.hasOwn(properties, name));
  return fillProperties(filled, unknown, (name) => inner(others as TSchema, value[name]));
}

function fillProperties(
  value: Properties,
  names: readonly string[],
  of: (name: string) => unknown,
): Properties {
  let filled = value;
  for (const name of names) {
    const part = of(name);
    if (part === undefined || (Object.hasOwn(value, name) && part === value[name])) continue;
    if (filled === value) filled = { ...value };
    Object.defineProperty(filled, name, {
      ...{ value: part, enumerable: true, writable: true, configurable: true },
    });
  }
  return filled;
}

function fillList(
  value: readonly unknown[],
  partAt: (index: number) => TSchema | undefined,
  inner: Inner,
): readonly unknown[] {
  let filled: unknown[] | undefined;
  for (const [index, item] of value.entries()) {
    const part = partAt(index);
    const now = part === undefined ? item : inner(part, item);
    if (now !== item) (filled ??= [...value])[index] = now;
  }
  return filled ?? value;
}

function isPlain(value: unknown): value is Properties {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
