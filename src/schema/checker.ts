/** Schemas at work: a TypeBox schema compiled to code, or a Standard Schema asked. */
import type { TSchema } from "@sinclair/typebox";
import { TypeCompiler } from "@sinclair/typebox/compiler";
import {
  DefaultErrorFunction,
  GetErrorFunction,
  type ValueError,
  ValueErrorType,
} from "@sinclair/typebox/errors";
import { TypeSystemPolicy } from "@sinclair/typebox/system";
import {
  HasTransform,
  TransformDecode,
  TransformDecodeError,
  TransformEncode,
  TransformEncodeError,
} from "@sinclair/typebox/value";
import { adoptRegistries } from "./foreign-typebox.ts";
import { Refusal, pointer } from "../codec/refusal.ts";
import { compileDefaults } from "./defaults.ts";
import { isStandard, isTypeBox, whyNoSchema } from "./kind.ts";
import type { Schema, StandardSchema } from "./types.ts";
import { registerTypedArrays } from "../codec/typed-array.ts";

/** Returns the value that a schema makes of `value`, or a promise of it. Throws, or rejects with, {@link Refusal}. */
export type Check = (value: unknown) => unknown;

/** Longer ones would not be read. */
const MAX_MESSAGE = 1000;

registerTypedArrays();

/**
 * The check of a function's input, or of its output. TypeBox: defaults are filled in, transforms decode what comes in and encode
 * what goes out. Throws `TypeError` when it is no schema.
 */
export function compileCheck(schema: Schema, side: "input" | "output"): Check {
  if (isStandard(schema)) return (value) => askStandard(schema, value);
  if (!isTypeBox(schema)) throw new TypeError(`it ${whyNoSchema(schema)}`);
  const conforms = compileTypeBox(schema);
  const fill = compileDefaults(schema);
  const check = fill === undefined ? conforms : (value: unknown) => conforms(fill(value));
  if (!HasTransform(schema, [])) return check;
  if (side === "input")
    return (value) => {
      const checked = check(value);
      return transformed(() => TransformDecode(schema, [], checked));
    };
  return (value) => check(transformed(() => TransformEncode(schema, [], value)));
}

/** A check that finds out whether a value conforms and makes nothing of it: what a caller can say before the value is sent. */
export function compileTypeBox(schema: TSchema): Check {
  const compiled = compile(schema);
  const check: Check = (value) => {
    if (compiled.Check(value)) return value;
    let error = compiled.Errors(value).First();
    if (isUnknownFormat(error) && adoptRegistries()) {
      if (compiled.Check(value)) return value;
      error = compiled.Errors(value).First();
    }
    const { path = "", message = "does not match its schema" } = error ?? {};
    const todo = isUnknownFormat(error)
      ? "; set it with FormatRegistry of @sinclair/typebox 0.34, in the function's module"
      : "";
    throw new Refusal(path, `${message.slice(0, MAX_MESSAGE)}${todo}`);
  };
  return (value) => {
    try {
      return check(value);
    } catch (error) {
      // A getter of the value may throw, or there is no end to it.
      return failed(error);
    }
  };
}

function compile(schema: TSchema): ReturnType<typeof TypeCompiler.Compile> {
  try {
    return TypeCompiler.Compile(schema);
  } catch (cause) {
    if (adoptRegistries()) return compile(schema);
    throw new TypeError(`TypeBox cannot check its schema: ${messageOf(cause)}`, { cause });
  }
}

/** Whether the module has changed how TypeBox checks, or what it says, in ways that callers do not know of. */
export function hasOwnRules(): boolean {
  const { AllowArrayObject, AllowNaN, AllowNullVoid } = TypeSystemPolicy;
  if (AllowArrayObject || AllowNaN || AllowNullVoid) return true;
  return GetErrorFunction() !== DefaultErrorFunction;
}

function isUnknownFormat(error: ValueError | undefined): boolean {
  return error?.type === ValueErrorType.StringFormatUnknown;
}

function transformed(transform: () => unknown): unknown {
  try {
    return transform();
  } catch (error) {
    const known = error instanceof TransformDecodeError || error instanceof TransformEncodeError;
    throw known ? thrown(error.path, error.error) : thrown("", error);
  }
}

/** What a Standard Schema makes of a value, or a promise of it. Throws, or rejects with, {@link Refusal}. */
export function askStandard(schema: StandardSchema, value: unknown): unknown {
  try {
    const result: unknown = schema["~standard"].validate(value);
    if (!isThenable(result)) return standardValue(result);
    return Promise.resolve(result).then(standardValue).catch(failed);
  } catch (error) {
    return failed(error);
  }
}

function failed(error: unknown): never {
  throw error instanceof Refusal ? error : thrown("", error);
}

/** The result of a validation, which may be anything. */
function standardValue(result: unknown): unknown {
  const { issues, value } = (result ?? {}) as { issues?: unknown; value?: unknown };
  if (issues) throw refusalOf(issues);
  if (typeof result === "object" && result !== null && "value" in result) return value;
  throw new Refusal("", "its schema returned neither a value nor issues");
}

/** Of the first issue. Libraries have lists and paths of classes of their own, whose `map` does other things than an array's. */
function refusalOf(issues: unknown): Refusal {
  const [issue] = listOf(issues) as { message?: unknown; path?: unknown }[];
  const path = listOf(issue?.path).map((part) =>
    typeof part === "object" && part !== null ? (part as { key?: unknown }).key : part,
  );
  const message = typeof issue?.message === "string" ? issue.message : "does not match its schema";
  return new Refusal(pointer(path), message.slice(0, MAX_MESSAGE));
}

function listOf(value: unknown): unknown[] {
  return typeof value === "object" && value !== null ? Array.from(value as ArrayLike<unknown>) : [];
}

/** A schema's own code has failed; the value counts as refused. */
function thrown(path: string, cause: unknown): Refusal {
  return new Refusal(path, `its schema threw: ${messageOf(cause).slice(0, MAX_MESSAGE)}`, cause);
}

function messageOf(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message : thrown);
  } catch {
    return "something that cannot be read";
  }
}

/** An object whose `then` cannot be read counts as not thenable: the code that reads the object reports why. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== "object" || value === null) return false;
  try {
    return typeof (value as { then?: unknown }).then === "function";
  } catch {
    return false;
  }
}
