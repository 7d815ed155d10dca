/** Handles to call functions on values and on structs. */
import { UsageError } from "../../base/errors.ts";
import type { AnyDefinition, StructDefinition } from "../../function/define-function.ts";
import { isDefinition } from "../../function/definition.ts";
import type { TypedNames } from "../../function/names.ts";
import { kindNamed } from "../../kinds/registry.ts";
import type { CallerInput, CallerOutput, Schema } from "../../schema/types.ts";
import type { FunctionDescription } from "../../protocol/module-report.ts";
import type { FunctionHost } from "./host.ts";
import { openHandle } from "./handles.ts";
import type { StructFunction } from "./struct-function.ts";
import type { TypedFunction } from "./value-function.ts";

/** Any name when the module's type is not given, else the names of what it defines with `defineFunction`. */
export type TypedNameOf<Module> = unknown extends Module ? string : TypedNames<Module>;

/** How a function that is so defined is called. */
export type CallableOf<Definition> =
  Definition extends StructDefinition<infer Input, infer Output>
    ? StructFunction<Input, Output>
    : Definition extends { input: infer Input extends Schema; output: infer Output extends Schema }
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
  const kind = kindNamed(description.kind);
  try {
    return openHandle(name, kind.open(description, definition), host);
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new UsageError(`"${name}" cannot be called: ${cause.message}`, { cause });
  }
}
