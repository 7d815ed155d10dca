/** Errors in messages, and the answer to a failed request. */
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { type ErrorRecord as ErrorData, MAX_CAUSES } from "../base/error/record.ts";
import { count, text } from "./fields.ts";

const errorRecord = (causes: number): TSchema =>
  Type.Object({
    name: text,
    message: text,
    code: Type.Optional(Type.Union([text, Type.Number()])),
    stack: Type.Optional(text),
    retryable: Type.Optional(Type.Boolean()),
    ...(causes > 0 ? { cause: Type.Optional(errorRecord(causes - 1)) } : {}),
    // The client checks them when it makes an error of them.
    errors: Type.Optional(Type.Unknown()),
    held: Type.Optional(Type.Unknown()),
    own: Type.Optional(Type.Unknown()),
    invalid: Type.Optional(
      Type.Object({
        functionName: text,
        side: Type.Union([Type.Literal("input"), Type.Literal("output")]),
        path: text,
        problem: text,
      }),
    ),
  });
/** Typed by hand: a schema that contains itself would be slower to compile. */
export const ErrorRecord = Type.Unsafe<ErrorData>(errorRecord(MAX_CAUSES));
export type ErrorRecord = ErrorData;

/** What limit of its user a lease would cross (`LimitReached`). */
const Limit = Type.Object({
  passes: Type.Boolean(),
  shared: Type.Boolean(),
  cores: Type.Optional(Type.Number({ minimum: 0 })),
});

/** The answer to the request with this id: it failed, and why. */
export const Failed = Type.Object({
  t: Type.Literal("failed"),
  id: count,
  code: text,
  message: text,
  /** The thrown error, where it came from a user's function. */
  error: Type.Optional(ErrorRecord),
  /** Of RFAAS_TOKEN_LIMIT; left out by a node or a manager that does not say. */
  limit: Type.Optional(Limit),
});
export type Failed = Static<typeof Failed>;
