/** Which names of a module can be called, and how: worked out by the type checker alone. */
import type { FUNCTION_BRAND } from "../base/brand.ts";
import type { FunctionContext } from "./context.ts";
import type { RawFunction } from "./raw.ts";

/** The names of a module's raw functions: what `typeof import("./module.ts")` lets a caller invoke with buffers. */
export type FunctionNames<Module> = {
  [Name in keyof Module & string]: Module[Name] extends (
    ...args: [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>, FunctionContext]
  ) => ReturnType<RawFunction>
    ? Name
    : never;
}[keyof Module & string];

/** The names of what a module defines with `defineFunction`. */
export type TypedNames<Module> = {
  [Name in keyof Module & string]: Module[Name] extends { readonly [FUNCTION_BRAND]: string }
    ? Name
    : never;
}[keyof Module & string];
