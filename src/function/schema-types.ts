/** What describes the values of a function, as types: TypeBox schemas and any Standard Schema. */
import type { Static, TSchema } from "@sinclair/typebox";

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

export type Schema = TSchema | StandardSchema;

/** What may be passed where a schema asks for a value. */
export type SchemaInput<S> =
  S extends StandardSchema<infer Input, unknown> ? Input : S extends TSchema ? Static<S> : never;

/** What a schema makes of a value. */
export type SchemaOutput<S> =
  S extends StandardSchema<never, infer Output> ? Output : S extends TSchema ? Static<S> : never;
