/** Schemas at work: a TypeBox schema compiled to code, or a Standard Schema asked. */
import { Kind, type TSchema } from "@sinclair/typebox";
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { Refusal, pointer } from "./refusal.ts";
import type { Schema, StandardResult, StandardSchema } from "./schema-types.ts";
import { registerTypedArrays } from "./typed-array.ts";

/** Returns the value that a schema makes of `value`, or a promise of it. Throws, or rejects with, {@link Refusal}. */
export type Check = (value: unknown) => unknown;

/** Longer ones would not be read. */
const MAX_MESSAGE = 1000;

registerTypedArrays();

/** Throws `TypeError` when it is no schema. */
export function compileCheck(schema: Schema): Check {
  if (isStandard(schema)) return (value) => standardValue(schema["~standard"].validate(value));
  if (!isTypeBox(schema))
    throw new TypeError("neither a TypeBox schema nor a Standard Schema; see rfaas/function");
  const compiled = compile(schema);
  return (value) => {
    if (compiled.Check(value)) return value;
    const { path = "", message = "does not match its schema" } = firstError(compiled, value);
    throw new Refusal(path, message);
  };
}

function compile(schema: TSchema): ReturnType<typeof TypeCompiler.Compile> {
  try {
    return TypeCompiler.Compile(schema);
  } catch (cause) {
    throw new TypeError(`TypeBox cannot check its schema: ${(cause as Error).message}`, { cause });
  }
}

export function isTypeBox(schema: Schema): schema is TSchema {
  return Object.hasOwn(schema, Kind);
}

function isStandard(schema: Schema): schema is StandardSchema {
  const standard = (schema as Partial<StandardSchema>)["~standard"];
  return typeof standard?.validate === "function";
}

/** The deepest of the first errors: that of a union says only that no part of it matches. */
function firstError(
  compiled: ReturnType<typeof TypeCompiler.Compile>,
  value: unknown,
): { path?: string; message?: string } {
  const { path, message } = compiled.Errors(value).First() ?? {};
  return {
    ...(path === undefined ? {} : { path }),
    ...(message === undefined ? {} : { message: message.slice(0, MAX_MESSAGE) }),
  };
}

function standardValue(
  result: StandardResult<unknown> | Promise<StandardResult<unknown>>,
): unknown {
  if (isThenable(result)) return Promise.resolve(result).then(standardValue);
  if (!result.issues) return result.value;
  const [issue] = result.issues;
  const parts = issue?.path?.map((part) => (typeof part === "object" ? part.key : part)) ?? [];
  const message = String(issue?.message ?? "does not match its schema");
  throw new Refusal(pointer(parts), message.slice(0, MAX_MESSAGE));
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof (value as { then?: unknown }).then === "function"
  );
}
