/** The types of the schemas that describe a function's values: TypeBox schemas and any Standard Schema. */
import type { StaticDecode, TRecursive, TSchema } from "@sinclair/typebox";

/** The interface that schema libraries have in common: https://standardschema.dev */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] };

export interface StandardIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** A schema of any copy of TypeBox 0.34. Its symbols are other types in each copy, so it is told by what all have. */
export interface TypeBoxSchema {
  readonly static: unknown;
  readonly params: unknown[];
  // As TypeBox declares it.
  readonly [keyword: string]: any;
}

export type Schema = TypeBoxSchema | StandardSchema;

/** Any Standard Schema. */
interface Standard {
  readonly "~standard": object;
}
/** What a Standard Schema says of its types; of one that says nothing, the output may be seen where it is made. */
type TypesOf<S extends Standard> = S["~standard"] extends { readonly types?: infer Types }
  ? [NonNullable<Types>] extends [never]
    ? Untold<S>
    : NonNullable<Types> extends { readonly input: unknown; readonly output: unknown }
      ? NonNullable<Types>
      : Untold<S>
  : Untold<S>;
interface Untold<S> {
  input: unknown;
  output: S extends StandardSchema<never, infer Output> ? Output : unknown;
}

/** What a TypeBox schema says of a value outside: one that its transforms have not decoded, or have encoded. */
type Encoded<S extends TypeBoxSchema> = (S & { params: [] })["static"];

/**
 * Of a value inside: TypeBox's `StaticDecode`, for schemas of all copies of TypeBox, and in half the steps. Transforms inside a
 * recursive type, or a `Module`, are seen where it is of our copy.
 */
type Decoded<S> = [TransformOf<S>] extends [never]
  ? S extends { type: "array"; items?: infer Items }
    ? Items extends TypeBoxSchema
      ? Decoded<Items>[]
      : { [Index in keyof Items]: Decoded<Items[Index]> }
    : S extends { type: "object"; properties: infer Properties; static: infer Values }
      ? {
          [Name in keyof Values]: Name extends keyof Properties
            ? Decoded<Properties[Name]>
            : Values[Name];
        }
      : S extends { type: "object"; patternProperties: infer Patterns; static: infer Values }
        ? { [Name in keyof Values]: Decoded<Patterns[keyof Patterns]> }
        : S extends { anyOf: (infer Each)[] }
          ? Each extends unknown
            ? Decoded<Each>
            : never
          : S extends { allOf: infer Parts }
            ? AllOf<{ [Index in keyof Parts]: [Decoded<Parts[Index]>] }>
            : S extends TRecursive<TSchema> | (TSchema & { $defs: unknown })
              ? StaticDecode<S>
              : S extends TypeBoxSchema
                ? Encoded<S>
                : unknown
  : ReturnType<TransformOf<S>["Decode"]>;

/** `A & B` for `[[A], [B]]`. */
type AllOf<Parts> = (
  Parts extends readonly (infer Part)[] ? (Part extends [infer Type] ? (part: Type) => void : 0) : 0
) extends (part: infer All) => void
  ? All
  : unknown;

/** What a transform keeps under a symbol of its copy. */
type TransformOf<S> = Extract<S[keyof S & symbol], { Decode: (value: never) => unknown }>;

/** What a caller passes to a function with this input. */
export type CallerInput<S> = S extends Standard
  ? TypesOf<S>["input"]
  : S extends TypeBoxSchema
    ? Encoded<S>
    : never;

/** What a function with this input is given. */
export type FunctionInput<S> = S extends Standard
  ? TypesOf<S>["output"]
  : S extends TypeBoxSchema
    ? Decoded<S>
    : never;

/** What a function with this output returns. */
export type FunctionOutput<S> = S extends Standard
  ? TypesOf<S>["input"]
  : S extends TypeBoxSchema
    ? Decoded<S>
    : never;

/** What a caller of a function with this output gets. */
export type CallerOutput<S> = S extends Standard
  ? TypesOf<S>["output"]
  : S extends TypeBoxSchema
    ? Encoded<S>
    : never;
