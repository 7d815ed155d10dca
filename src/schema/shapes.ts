/** The shapes of values (`codec/shape.ts`) that a schema describes, and the name by which two sides know that theirs are the same. */
import { Kind, type TSchema } from "@sinclair/typebox";
import {
  ANY,
  type Constant,
  MAX_CHOICES,
  type Property,
  SHAPES_VERSION,
  type Shape,
  leastBytes,
} from "../codec/shape.ts";
import { rebuildSchema } from "./description.ts";

/** Larger shapes would become code that the engine does not optimize. */
const MAX_PARTS = 1000;
/** Names that the engine puts in front of all others, in an order of their own. */
const INDEX = /^(?:0|[1-9][0-9]*)$/;

/** What can be told of a function's values. */
export interface Described {
  readonly input: unknown;
  readonly output: unknown;
}

/** Undefined where the schema says nothing that would shorten a value. */
export interface Shapes {
  readonly input: Shape | undefined;
  readonly output: Shape | undefined;
}

export const NO_SHAPES: Shapes = { input: undefined, output: undefined };

/** Throws `TypeError` for what is no description. */
export function shapesOf({ input, output }: Described): Shapes {
  return { input: shapeOf(input), output: shapeOf(output) };
}

/** Names the shapes of a function's values, and how they are written: sides that have the same name read what the other writes. */
export function formOf({ input, output }: Described): string | undefined {
  if (isNothing(input) && isNothing(output)) return undefined;
  const text = JSON.stringify([SHAPES_VERSION, input ?? null, output ?? null]);
  return Bun.hash(text).toString(16);
}

function isNothing(description: unknown): boolean {
  return description === null || description === undefined;
}

function shapeOf(description: unknown): Shape | undefined {
  if (isNothing(description)) return undefined;
  // As the other side has it: the sign of zero is lost on the way.
  const travelled: unknown = JSON.parse(JSON.stringify(description));
  const left = { parts: MAX_PARTS };
  const shape = shapeOfSchema(rebuildSchema(travelled), left);
  return left.parts < 0 || shape.type === "any" ? undefined : shape;
}

function shapeOfSchema(schema: TSchema, left: { parts: number }): Shape {
  if (--left.parts < 0) return ANY;
  const parts = (of: readonly TSchema[]) => of.map((part) => shapeOfSchema(part, left));
  switch (schema[Kind]) {
    case "Number":
    case "Integer":
      return { type: "number" };
    case "Boolean":
      return { type: "boolean" };
    case "String":
      return { type: "string" };
    case "Date":
      return { type: "date" };
    case "Null":
      return constant(null);
    case "Undefined":
    case "Void":
      return constant(undefined);
    case "Literal":
      return constant(schema["const"]);
    case "Array": {
      const items = shapeOfSchema(schema["items"], left);
      // An item of no bytes would be one of any number of items.
      return leastBytes(items) === 0 ? ANY : { type: "list", items };
    }
    case "Tuple":
      return { type: "tuple", items: parts(schema["items"] ?? []) };
    case "Union":
      return either(parts(schema["anyOf"]));
    case "Object":
      return object(schema, left);
    default:
      return ANY;
  }
}

function constant(...values: Constant[]): Shape {
  return { type: "constant", values };
}

/** All constants together are one choice. */
function either(parts: readonly Shape[]): Shape {
  const constants = new Set(parts.flatMap((part) => (part.type === "constant" ? part.values : [])));
  const others = parts.filter(({ type }) => type !== "constant");
  const of = constants.size === 0 ? others : [constant(...constants), ...others];
  if (of.length === 0 || of.length > MAX_CHOICES || constants.size > MAX_CHOICES) return ANY;
  if (others.some(({ type }) => type === "any")) return ANY;
  return of.length === 1 ? of[0]! : { type: "either", of };
}

function object(schema: TSchema, left: { parts: number }): Shape {
  const entries = Object.entries<TSchema>(schema["properties"]);
  const sound = entries.every(([name]) => !INDEX.test(name) && name !== "__proto__");
  if (entries.length === 0 || !sound) return ANY;
  const required = new Set(schema["required"] as string[] | undefined);
  const properties = entries.map(([name, part]): Property => ({
    name,
    optional: !required.has(name),
    shape: shapeOfSchema(part, left),
  }));
  return { type: "object", properties };
}
