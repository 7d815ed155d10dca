/** Handles to call functions on values and on structs. */
import type { TSchema } from "@sinclair/typebox";
import { UsageError } from "../../base/errors.ts";
import type { FUNCTION_BRAND } from "../../base/brand.ts";
import {
  type AnyDefinition,
  type StructDefinition,
  type TypedDefinition,
  isDefinition,
} from "../../function/define-function.ts";
import type { TypedNames } from "../../function/names.ts";
import { describeSchema, rebuildSchema } from "../../schema/description.ts";
import { isStandard, isTypeBox } from "../../schema/kind.ts";
import type { CallerInput, CallerOutput, Schema, StandardSchema } from "../../schema/types.ts";
import { type Struct, type StructFields, isStruct, struct } from "../../codec/struct.ts";
import type { FunctionDescription } from "../../protocol/messages.ts";
import type { FunctionHost } from "./host.ts";
import { type StructFunction, openStruct } from "./struct-function.ts";
import { type TypedFunction, openTyped } from "./value-function.ts";

/** Any name when the module's type is not given, else the names of what it defines with `defineFunction`. */
export type TypedNameOf<Module> = unknown extends Module ? string : TypedNames<Module>;

/** How a function that is so defined is called. */
export type CallableOf<Definition> =
  Definition extends StructDefinition<infer Input, infer Output>
    ? StructFunction<Input, Output>
    : Definition extends Pick<TypedDefinition, typeof FUNCTION_BRAND> & {
          input: infer Input;
          output: infer Output;
        }
      ? TypedFunction<CallerInput<Input>, CallerOutput<Output>>
      : TypedFunction<unknown, unknown>;

/**
 * How a function of a module is called; on unknown values when the module's type is not given. Where only the module's type is
 * given and not the name's, as in `lease.function<typeof import("./fn.ts")>("price")`, it can be called as any of its functions.
 */
export type FunctionOf<Module, Name> = unknown extends Module
  ? TypedFunction<unknown, unknown>
  : AllOf<Name extends keyof Module ? CallableOf<Module[Name]> : never>;

/** `A & B` for `A | B`. */
type AllOf<Union> = (Union extends unknown ? (each: Union) => void : never) extends (
  all: infer All,
) => void
  ? All
  : never;

/** Throws {@link UsageError} when `definition` is not that of the function. */
export function openFunction(
  name: string,
  description: FunctionDescription,
  definition: AnyDefinition | undefined,
  host: FunctionHost,
): unknown {
  if (definition !== undefined && !isDefinition(definition))
    throw new UsageError(
      `the definition of "${name}" must be what defineFunction returned; import it from the module`,
    );
  try {
    if (description.kind === "struct")
      return openStruct(
        name,
        structOf(description.input, definition?.input),
        structOf(description.output, definition?.output),
        host,
      );
    if (definition !== undefined && isStruct(definition.input)) throw new TypeError("is no struct");
    return openTyped(name, schemaOf(description.input, definition?.input as Schema), host);
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new UsageError(`"${name}" cannot be called: ${cause.message}`, { cause });
  }
}

/** The layout as the node says it, which must be that of the definition. */
function structOf(fields: unknown, defined: unknown): Struct {
  if (typeof fields !== "object" || fields === null)
    throw new TypeError("its struct has no fields");
  const told = struct(fields as StructFields);
  if (defined === undefined) return told;
  if (isStruct(defined) && Bun.deepEquals(Object.entries(defined.fields), Object.entries(fields)))
    return told;
  throw new TypeError(
    "its struct is not the one that is defined; use the module that the node has",
  );
}

/** What to check inputs with; undefined when only the worker can. */
function schemaOf(
  description: unknown,
  defined: Schema | undefined,
): TSchema | StandardSchema | undefined {
  if (isStandard(defined)) return defined;
  if (description === null || description === undefined) return undefined;
  // Of a TypeBox schema that is given, what a node would tell: the copy of TypeBox that made it may know more than this one.
  return rebuildSchema(isTypeBox(defined) ? describeSchema(defined) : description);
}
