/** Errors as data, and the answer to a failed request. */
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { count, text } from "./fields.ts";

/** So many causes of an error travel with it, each the cause of the one before. */
export const MAX_CAUSES = 4;

/** An error as data: what survives between processes. */
export interface ErrorRecord {
  name: string;
  message: string;
  code?: string | number;
  stack?: string;
  /** The error says that another try may succeed. */
  retryable?: boolean;
  cause?: ErrorRecord;
  /** Those that it has gathered, as an `AggregateError` does. */
  errors?: ErrorRecord[];
  /** Errors that are properties of it, by name. */
  held?: Record<string, ErrorRecord>;
  /** Its other properties. */
  own?: Record<string, unknown>;
  /** A value that did not validate. */
  invalid?: { functionName: string; side: "input" | "output"; path: string; problem: string };
  /** No failure: a result that did not fit, kept in the worker until it is fetched. */
  kept?: { ticket: number; bytes: number };
}

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
export const ErrorRecord = Type.Unsafe<ErrorRecord>(errorRecord(MAX_CAUSES));

/** The answer to the request with this id: it failed, and why. */
export const Failed = Type.Object({
  t: Type.Literal("failed"),
  id: count,
  code: text,
  message: text,
  /** The thrown error, where it came from a user's function. */
  error: Type.Optional(ErrorRecord),
});
export type Failed = Static<typeof Failed>;
