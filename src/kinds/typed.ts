/**
 * Functions on values: they travel as MessagePack, and schemas check them. The worker decodes, checks, runs, checks and encodes. The
 * caller checks what it can before it sends: a TypeBox schema comes with the grant, a Standard Schema with the definition.
 */
import type { TSchema } from "@sinclair/typebox";
import { InvalidValue } from "../base/errors.ts";
import { Decoder } from "../codec/decoder.ts";
import { Encoder } from "../codec/encoder.ts";
import { Refusal } from "../codec/refusal.ts";
import { isStruct } from "../codec/struct.ts";
import type { FunctionContext } from "../function/context.ts";
import type { TypedDefinition } from "../function/define-function.ts";
import type { RawFunction } from "../function/raw.ts";
import {
  type Check,
  askStandard,
  compileCheck,
  compileTypeBox,
  hasOwnRules,
  isThenable,
} from "../schema/checker.ts";
import { describeSchema, rebuildSchema, valueOfNothing } from "../schema/description.ts";
import { isStandard, isTypeBox } from "../schema/kind.ts";
import type { Schema, StandardSchema } from "../schema/types.ts";
import type { ByValue, FunctionKind, ResultKeeper } from "./kind.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Characters of a schema that travels with the grant; longer ones are left to the worker, as a Standard Schema is. */
const MAX_DESCRIPTION = 64 * 1024;

/** The worker encodes no longer result, unless the lease has room for it. */
const MAX_RESULT_BYTES = 64 * 1024 * 1024;

/** A decoder keeps what it has learned of keys. Calls of a worker do not overlap while they decode or encode, */
const encoder = new Encoder();
const decoder = new Decoder();
/** nor do those that a program makes. In a test that runs functions itself, the one may begin within the other. */
const callersEncoder = new Encoder();
const callersDecoder = new Decoder();

export const typed: FunctionKind<TypedDefinition> = {
  name: "typed",

  describe({ input }, room) {
    // What comes out is checked in the worker, where it is made.
    return { input: describeOrNull(input, Math.min(room, MAX_DESCRIPTION)), output: null };
  },

  prepare: run,

  open({ input: description }, definition): ByValue {
    if (definition !== undefined && isStruct(definition.input)) throw new TypeError("is no struct");
    const schema = schemaOf(description, definition?.input as Schema | undefined);
    const passing = { by: "value", encoder: callersEncoder, decoder: callersDecoder } as const;
    if (schema === undefined) return { ...passing, check: undefined, ask: undefined };
    if (!isStandard(schema)) return { ...passing, check: compileTypeBox(schema), ask: undefined };
    // It may change what it is given, so it gets what the function would get.
    const ask = (encoded: Bytes) =>
      askStandard(schema, callersDecoder.decode(encoded, encoded.length, true));
    return { ...passing, check: undefined, ask };
  },

  nothing: ({ input }) => valueOfNothing(input),
};

// ---- the worker's end ----

function describeOrNull(schema: Schema, room: number): unknown {
  if (!isTypeBox(schema) || hasOwnRules()) return null;
  const description = describeSchema(schema);
  return JSON.stringify(description).length > room ? null : description;
}

function run(name: string, definition: TypedDefinition, kept: ResultKeeper): RawFunction {
  const { run } = definition;
  const checkInput = compileCheck(definition.input, "input");
  const checkOutput = compileCheck(definition.output, "output");

  let maxBytes = 0;

  const answer = (checked: unknown, output: Bytes, ctx: FunctionContext): number => {
    const length = guarded(name, "output", encode, checked, output, maxBytes);
    if (encoder.bytes === output) return length;
    throw kept.keep(encoder.bytes.subarray(0, length), ctx);
  };
  /** After an `await`, when others may have kept much meanwhile. */
  const answerLater = (checked: unknown, output: Bytes, ctx: FunctionContext) =>
    kept.full
      ? kept.whenRoom(ctx, () => answer(checked, output, ctx))
      : answer(checked, output, ctx);
  const finish = (result: unknown, output: Bytes, ctx: FunctionContext) => {
    const checked = guarded(name, "output", checkOutput, result);
    return isThenable(checked)
      ? settled(name, "output", checked).then((value) => answerLater(value, output, ctx))
      : answerLater(checked, output, ctx);
  };
  const start = (value: unknown, output: Bytes, ctx: FunctionContext): number | Promise<number> => {
    const result: unknown = run(value as never, ctx);
    return isThenable(result)
      ? Promise.resolve(result).then((value) => finish(value, output, ctx))
      : finish(result, output, ctx);
  };
  const startChecked = (checked: unknown, output: Bytes, ctx: FunctionContext) =>
    isThenable(checked)
      ? settled(name, "input", checked).then((value) => start(value, output, ctx))
      : start(checked, output, ctx);
  /** Empties the value's views of the call's memory when a function returns; for an asynchronous function the worker does. */
  const callLent = (checked: unknown, input: Bytes, output: Bytes, ctx: FunctionContext) => {
    let result: number | Promise<number> | undefined;
    try {
      return (result = startChecked(checked, output, ctx));
    } finally {
      if (!isThenable(result) && !input.buffer.detached) input.buffer.transfer(0);
    }
  };
  const call: RawFunction = (input, output, ctx) => {
    if (kept.full) return kept.whenRoom(ctx, () => call(input, output, ctx));
    if (maxBytes === 0) maxBytes = Math.max(MAX_RESULT_BYTES, ctx.memory.byteLength);
    const checked = guarded(name, "input", decodeAndCheck, input, checkInput);
    if (decoder.lends) return callLent(checked, input, output, ctx);
    return startChecked(checked, output, ctx);
  };
  return call;
}

function decodeAndCheck(input: Bytes, check: Check): unknown {
  return check(decoder.decode(input, input.length, false));
}

function encode(value: unknown, output: Bytes, maxBytes: number): number {
  return encoder.encode(value, output, maxBytes);
}

function guarded<Args extends unknown[], Result>(
  name: string,
  side: InvalidValue["side"],
  work: (...args: Args) => Result,
  ...args: Args
): Result {
  try {
    return work(...args);
  } catch (error) {
    throw invalid(name, side, error);
  }
}

function settled(
  name: string,
  side: InvalidValue["side"],
  checked: PromiseLike<unknown>,
): Promise<unknown> {
  return Promise.resolve(checked).catch((error) => {
    throw invalid(name, side, error);
  });
}

function invalid(name: string, side: InvalidValue["side"], error: unknown): unknown {
  if (!(error instanceof Refusal)) return error;
  const { path, message, cause } = error;
  return new InvalidValue(name, side, path, message, cause === undefined ? {} : { cause });
}

// ---- the caller's end ----

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
