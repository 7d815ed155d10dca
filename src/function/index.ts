/** What the author of a function imports, as `rfaas/function`. */
export { Type } from "@sinclair/typebox";
// All types, since the declarations of a module with functions name those of its schemas, and may not see TypeBox itself.
export type * from "@sinclair/typebox";
export type {
  FunctionContext,
  FunctionLog,
  Invocation,
  LogLevel,
  WorkerContext,
} from "./context.ts";
export { defineFunction } from "./define-function.ts";
export type { AnyDefinition, StructDefinition, TypedDefinition } from "./define-function.ts";
export { defineHooks } from "./define-hooks.ts";
export type { Hooks, HooksDefinition } from "./define-hooks.ts";
export type { RawFunction } from "./raw.ts";
export type { FunctionNames, TypedNames } from "./names.ts";
export type { StandardSchema } from "../schema/types.ts";
export { struct } from "../codec/struct.ts";
export type {
  Scalar,
  Struct,
  StructCopy,
  StructField,
  StructFields,
  StructValue,
  StructView,
} from "../codec/struct.ts";
export { typedArray } from "../codec/typed-array.ts";
export type { TTypedArray } from "../codec/typed-array.ts";
