/** Tells which kind of schema a value is; for a value that is none, names what it looks like. */
import type { TSchema } from "@sinclair/typebox";
import type { StandardSchema } from "./types.ts";

/** Every TypeBox schema is marked by this, whichever copy of it made the schema. TypeBox itself need not be loaded to see it. */
const TYPEBOX = Symbol.for("TypeBox.Kind");

export function isTypeBox(schema: unknown): schema is TSchema {
  return typeof schema === "object" && schema !== null && Object.hasOwn(schema, TYPEBOX);
}

export function isStandard(schema: unknown): schema is StandardSchema {
  const mayBe = (typeof schema === "object" && schema !== null) || typeof schema === "function";
  return mayBe && typeof (schema as Partial<StandardSchema>)["~standard"]?.validate === "function";
}

/** Undefined for a schema; else what is wrong with it, and what to do. */
export function whyNoSchema(value: unknown): string | undefined {
  if (isStandard(value) || isTypeBox(value)) return undefined;
  const parts = typeof value === "object" || typeof value === "function" ? value : null;
  if (parts === null) return `is ${nameOf(value)}, not a schema; ${PASS}`;
  // TypeBox 1 hides its mark from enumeration.
  if (Object.hasOwn(parts, "~kind"))
    return 'is a schema of TypeBox 1.x (the package "typebox"), which only the checker of the same version can read, and rfaas has that of TypeBox 0.34; import { Type } from "rfaas/function", or from "@sinclair/typebox" 0.34';
  if ("ast" in parts)
    return "is a schema of effect, which is no Standard Schema by itself; wrap it: Schema.standardSchemaV1(schema) in effect 3, Schema.toStandardSchemaV1(schema) in effect 4";
  if ("safeParse" in parts || "_run" in parts || "~run" in parts)
    return "is of a version of its library that has no Standard Schema; install zod 3.24, valibot 1.0 or later";
  return `is neither a TypeBox schema nor a Standard Schema; ${PASS}`;
}

const PASS = 'pass a schema of Type (from "rfaas/function"), zod, valibot, arktype or effect';

function nameOf(value: unknown): string {
  return value === null || value === undefined ? String(value) : `a ${typeof value}`;
}
