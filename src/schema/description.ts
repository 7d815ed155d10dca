/**
 * TypeBox schemas as plain data, to travel with a grant, and back. What comes back is built anew from a closed list of kinds and
 * limits, because the client compiles it to code and does not trust the node: nothing of a description reaches the compiler as
 * it is. What is not on the list, a pattern or a recursive type, is left to the worker, which checks everything anyway.
 */
import { Kind, type TSchema, Type } from "@sinclair/typebox";
import { mayBeMissing } from "./defaults.ts";
import { TYPED_ARRAY_KIND, isTypedArrayName, typedArray } from "../codec/typed-array.ts";

/** A schema: its kind, its limits, and its parts by name. */
export type SchemaDescription = { readonly kind: string; readonly [part: string]: unknown };

const MAX_PARTS = 4096;
const MAX_DEPTH = 32;
const MAX_NAME = 1024;
const ANY: SchemaDescription = { kind: "Any" };

/** Limits that are numbers, by kind. */
const LIMITS: Record<string, readonly string[]> = {
  Number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
  Integer: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
  String: ["minLength", "maxLength"],
  Array: ["minItems", "maxItems"],
  Uint8Array: ["minByteLength", "maxByteLength"],
  Date: ["minimumTimestamp", "maximumTimestamp"],
  [TYPED_ARRAY_KIND]: ["length", "minLength", "maxLength"],
};

/** Kinds that have no parts. */
const PLAIN: Record<string, (limits: Record<string, number>) => TSchema> = {
  Any: () => Type.Any(),
  Unknown: () => Type.Unknown(),
  Null: () => Type.Null(),
  Undefined: () => Type.Undefined(),
  Void: () => Type.Void(),
  Never: () => Type.Never(),
  Boolean: () => Type.Boolean(),
  BigInt: () => Type.BigInt(),
  Number: (limits) => Type.Number(limits),
  Integer: (limits) => Type.Integer(limits),
  String: (limits) => Type.String(limits),
  Uint8Array: (limits) => Type.Uint8Array(limits),
  Date: (limits) => Type.Date(limits),
};

/** Keys of a record that may be any text; other patterns are left to the worker. */
const ANY_KEY = "^(.*)$";

// ---- to data ----

export function describeSchema(schema: TSchema): SchemaDescription {
  const left = { parts: MAX_PARTS };
  const description = describe(schema, 0, left);
  return left.parts < 0 ? ANY : description;
}

function describe(schema: TSchema, depth: number, left: { parts: number }): SchemaDescription {
  if (depth > MAX_DEPTH || --left.parts < 0) return ANY;
  // Only the worker knows what is there when the default has been put in.
  if (mayBeMissing(schema)) return ANY;
  const kind: unknown = schema[Kind];
  const part = (inner: TSchema) => describe(inner, depth + 1, left);
  const parts = (inner: readonly TSchema[]) => inner.map(part);
  if (typeof kind !== "string") return ANY;
  const limits = limitsOf(kind, schema);
  if (Object.hasOwn(PLAIN, kind)) return { kind, ...limits };
  switch (kind) {
    case "Literal": {
      const value: unknown = schema["const"];
      return isLiteral(value) ? { kind, value } : ANY;
    }
    case "Array":
      return { kind, items: part(schema["items"]), ...limits };
    case "Tuple":
      if (schema["items"]?.some(mayBeMissing)) return ANY;
      return { kind, items: parts(schema["items"] ?? []) };
    case "Union":
      return { kind, of: parts(schema["anyOf"]) };
    case "Intersect":
      // Which properties are left over is for the worker to find.
      return { kind, of: parts(schema["allOf"]) };
    case "Record": {
      const patterns = Object.entries<TSchema>(schema["patternProperties"] ?? {});
      return patterns.length === 1 && patterns[0]![0] === ANY_KEY
        ? { kind, values: part(patterns[0]![1]) }
        : ANY;
    }
    case TYPED_ARRAY_KIND:
      return { kind, array: schema["array"], ...limits };
    case "Object": {
      const entries = Object.entries<TSchema>(schema["properties"]);
      if (!entries.every(([name]) => isSoundName(name))) return ANY;
      const properties = entries.map(([name, property]) => [
        name,
        mayBeMissing(property) || !(schema["required"] as string[] | undefined)?.includes(name),
        part(property),
      ]);
      return { kind, properties, closed: schema["additionalProperties"] === false };
    }
    default:
      return ANY;
  }
}

function limitsOf(kind: string, from: Record<string, unknown>): Record<string, number> {
  const limits: Record<string, number> = {};
  for (const name of LIMITS[kind] ?? []) {
    const limit = from[name];
    if (typeof limit === "number" && Number.isFinite(limit)) limits[name] = limit;
  }
  return limits;
}

function isSoundName(name: unknown): name is string {
  return typeof name === "string" && name.length <= MAX_NAME && name !== "__proto__";
}

function isLiteral(value: unknown): value is string | number | boolean {
  return typeof value === "string" || typeof value === "boolean" || Number.isFinite(value);
}

// ---- from data ----

/** Throws `TypeError` when it is no description: its sender is of another version, or hostile. */
export function rebuildSchema(description: unknown): TSchema {
  return rebuild(description, 0, { parts: MAX_PARTS });
}

function rebuild(description: unknown, depth: number, left: { parts: number }): TSchema {
  if (depth > MAX_DEPTH + 1 || --left.parts < 0) throw unsound("is too large");
  if (typeof description !== "object" || description === null) throw unsound("is no object");
  const from = description as Record<string, unknown>;
  const { kind } = from;
  if (typeof kind !== "string") throw unsound("has no kind");
  const part = (inner: unknown) => rebuild(inner, depth + 1, left);
  const parts = (inner: unknown) => listOf(inner).map(part);
  const limits = limitsOf(kind, from);
  if (Object.hasOwn(PLAIN, kind)) return PLAIN[kind]!(limits);
  switch (kind) {
    case "Literal": {
      const { value } = from;
      if (!isLiteral(value)) throw unsound("has a literal of an unknown type");
      return Type.Literal(value);
    }
    case "Array":
      return Type.Array(part(from["items"]), limits);
    case "Tuple":
      return Type.Tuple(parts(from["items"]));
    case "Union":
      return Type.Union(parts(from["of"]));
    case "Intersect":
      return Type.Intersect(parts(from["of"]));
    case "Record":
      return Type.Record(Type.String(), part(from["values"]));
    case TYPED_ARRAY_KIND: {
      const { array } = from;
      if (!isTypedArrayName(array)) throw unsound("has an unknown typed array");
      return typedArray(array, limits);
    }
    case "Object":
      return rebuildObject(from, part);
    default:
      throw unsound(`has the unknown kind ${JSON.stringify(kind).slice(0, 100)}`);
  }
}

function rebuildObject(from: Record<string, unknown>, part: (inner: unknown) => TSchema): TSchema {
  const properties: Record<string, TSchema> = {};
  for (const property of listOf(from["properties"])) {
    const [name, optional, inner] = listOf(property);
    if (!isSoundName(name)) throw unsound("has a property without a sound name");
    properties[name] = optional === true ? Type.Optional(part(inner)) : part(inner);
  }
  return Type.Object(properties, from["closed"] === true ? { additionalProperties: false } : {});
}

function listOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value) || value.length > MAX_PARTS) throw unsound("has a list that is none");
  return value;
}

function unsound(problem: string): TypeError {
  return new TypeError(
    `the node's description of a function ${problem}; update the older side, or pass { definition }`,
  );
}

// ---- read as data ----

/** What to pass where nothing is given; `sure` unless only the worker knows whether that will do. */
export interface ValueOfNothing {
  value: null | undefined;
  sure: boolean;
}

/** What a description lets a caller pass who has no value; undefined when it needs one. */
export function valueOfNothing(description: unknown): ValueOfNothing | undefined {
  const { kind, of } = (description ?? {}) as { kind?: unknown; of?: unknown };
  switch (kind) {
    // Nothing could be said of the schema, such as a Standard Schema, or it takes anything.
    case undefined:
    case "Any":
    case "Unknown":
      return { value: undefined, sure: false };
    case "Undefined":
    case "Void":
      return { value: undefined, sure: true };
    case "Null":
      return { value: null, sure: true };
    case "Union":
      return Array.isArray(of) ? of.map(valueOfNothing).find((found) => found?.sure) : undefined;
    default:
      return undefined;
  }
}
