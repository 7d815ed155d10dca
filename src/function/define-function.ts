/** How a typed function is written. */
import { FUNCTION_BRAND } from "../base/brand.ts";
import type { FunctionContext } from "./context.ts";
import type { FunctionInput, FunctionOutput, Schema } from "../schema/types.ts";
import { whyNoSchema } from "../schema/kind.ts";
import { type Struct, type StructFields, type StructView, isStruct } from "../codec/struct.ts";

/** A function whose values are checked by schemas and travel as bytes. */
export interface TypedDefinition<Input extends Schema = Schema, Output extends Schema = Schema> {
  readonly [FUNCTION_BRAND]: "typed";
  readonly input: Input;
  readonly output: Output;
  readonly run: (
    input: FunctionInput<Input>,
    ctx: FunctionContext,
  ) => FunctionOutput<Output> | Promise<FunctionOutput<Output>>;
}

/** A function whose input and output are structs in registered memory. */
export interface StructDefinition<
  Input extends StructFields = StructFields,
  Output extends StructFields = StructFields,
> {
  readonly [FUNCTION_BRAND]: "struct";
  readonly input: Struct<Input>;
  readonly output: Struct<Output>;
  readonly run: (
    input: StructView<Input>,
    output: StructView<Output>,
    ctx: FunctionContext,
  ) => void | Promise<void>;
}

/** The kinds of functions that can be defined. `src/kinds/` has what each is at work. */
export type FunctionKindName = (TypedDefinition | StructDefinition)[typeof FUNCTION_BRAND];

/** Whatever `defineFunction` returns. The functions' own types are checked where they are defined. */
export interface AnyDefinition {
  readonly [FUNCTION_BRAND]: FunctionKindName;
  readonly input: object;
  readonly output: object;
  readonly run: (...args: never) => unknown;
}

/**
 * Defines a function that works on structs in place: `run` reads one view and writes the other, which is all zeroes at first.
 * Both belong to the call.
 *
 * @example
 * ```ts
 * export const price = defineFunction(
 *   { input: struct({ spot: "f64", strike: "f64" }), output: struct({ price: "f64" }) },
 *   (option, result) => { result.price = Math.max(0, option.spot - option.strike); },
 * );
 * ```
 */
export function defineFunction<Input extends StructFields, Output extends StructFields>(
  types: { input: Struct<Input>; output: Struct<Output> },
  run: StructDefinition<Input, Output>["run"],
): StructDefinition<Input, Output>;
/**
 * Defines a function on values: `input` and `output` are TypeBox schemas (`Type` comes with `rfaas/function`) or any Standard
 * Schema. What does not validate never reaches `run`, and what `run` returns is validated too. Typed arrays and `Buffer`s inside the
 * input lie in the lease's memory and are empty once the call has ended: copy (`slice`; of a `Buffer`, `Buffer.from`) what is to be
 * kept.
 *
 * What a Standard Schema makes of a value is what `run`, and then the caller, gets. A `Transform` of TypeBox decodes what comes in
 * and encodes what goes out: `run` has the decoded values on both sides, the caller the encoded ones. A `default` of TypeBox takes
 * the place of what is missing, on both sides; TypeBox's types let callers leave out only what is `Optional`, too.
 *
 * @example
 * ```ts
 * import { Type, defineFunction } from "rfaas/function";
 *
 * export const price = defineFunction(
 *   { input: Type.Object({ spot: Type.Number(), strike: Type.Number() }), output: Type.Number() },
 *   ({ spot, strike }) => Math.max(0, spot - strike),
 * );
 * ```
 * @throws {TypeError} a schema or the function is missing, a schema is none that can be checked, or a struct stands beside a schema
 */
export function defineFunction<Input extends Schema, Output extends Schema>(
  types: { input: Input; output: Output },
  run: TypedDefinition<Input, Output>["run"],
): TypedDefinition<Input, Output>;
export function defineFunction(
  { input, output }: { input: Schema | Struct; output: Schema | Struct },
  run: (...args: never) => unknown,
): AnyDefinition {
  if (typeof run !== "function")
    throw new TypeError("defineFunction needs the function itself as its second argument");
  const structs = [input, output].filter((side) => isStruct(side)).length;
  if (structs === 1)
    throw new TypeError("input and output must both be structs, or both be schemas");
  for (const [side, schema] of structs === 2 ? [] : Object.entries({ input, output })) {
    const problem = whyNoSchema(schema);
    if (problem !== undefined)
      throw new TypeError(`the ${side} given to defineFunction ${problem}`);
  }
  return Object.freeze({
    [FUNCTION_BRAND]: structs === 2 ? "struct" : "typed",
    input,
    output,
    run,
  } as const);
}
