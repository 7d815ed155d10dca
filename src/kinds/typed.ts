/**
 * Functions on values: they travel as bytes, by their shape where both sides know it, and schemas check them. The worker decodes,
 * checks, runs, checks and encodes. The caller checks what it can before it sends: a TypeBox schema comes with the grant, a Standard
 * Schema with the definition.
 */
import type { TSchema } from "@sinclair/typebox";
import { InvalidValue } from "../base/errors.ts";
import { Decoder } from "../codec/decoder.ts";
import { Encoder } from "../codec/encoder.ts";
import { Refusal } from "../codec/refusal.ts";
import { ShapedDecoder, ShapedEncoder, hasHead, readsShaped } from "../codec/shaped.ts";
import { isStruct } from "../codec/struct.ts";
import type { FunctionContext } from "../function/context.ts";
import type { TypedDefinition } from "../function/define-function.ts";
import type { RawFunction } from "../function/raw.ts";
import {
  askStandard,
  compileCheck,
  compileTypeBox,
  hasOwnRules,
  isThenable,
} from "../schema/checker.ts";
import { describeSchema, rebuildSchema, valueOfNothing } from "../schema/description.ts";
import { isStandard, isTypeBox } from "../schema/kind.ts";
import { type Described, NO_SHAPES, type Shapes, formOf, shapesOf } from "../schema/shapes.ts";
import type { Schema, StandardSchema } from "../schema/types.ts";
import type { ByValue, Description, FunctionKind, ResultKeeper } from "./kind.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Characters of a schema that travels with the grant; longer ones are left to the worker, as a Standard Schema is. */
const MAX_DESCRIPTION = 64 * 1024;

/** Of a handle, before its values travel by their shape. */
const FIRST_VALUES = 32;

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

  describe(definition, room) {
    const all = descriptionOf(definition);
    const input = within(all.input, room);
    // What comes out is checked in the worker, where it is made. Its schema tells the caller how it is written.
    const output = within(all.output, (room - JSON.stringify(input).length) / 2);
    const form = formOf({ input, output });
    return form === undefined ? { input, output } : { input, output, form };
  },

  prepare: run,

  open(description, definition): ByValue {
    if (definition !== undefined && isStruct(definition.input)) throw new TypeError("is no struct");
    const schema = schemaOf(description.input, definition?.input as Schema | undefined);
    const values = new CallersValues(description);
    const passing = { by: "value", encoder: values, decoder: values } as const;
    if (schema === undefined) return { ...passing, check: undefined, ask: undefined };
    if (!isStandard(schema)) return { ...passing, check: compileTypeBox(schema), ask: undefined };
    // It may change what it is given, so it gets what the function would get.
    const ask = (encoded: Bytes) => askStandard(schema, values.decodeSent(encoded));
    return { ...passing, check: undefined, ask };
  },

  nothing: ({ input }) => valueOfNothing(input),
};

// ---- the worker's end ----

function describeOrNull(schema: Schema): unknown {
  if (!isTypeBox(schema) || hasOwnRules()) return null;
  return within(describeSchema(schema), MAX_DESCRIPTION);
}

function within(description: unknown, room: number): unknown {
  return JSON.stringify(description).length > room ? null : description;
}

const told = new WeakMap<TypedDefinition, Described>();

/** What callers may be told of a definition, as it was when its module was loaded. */
function descriptionOf(definition: TypedDefinition): Described {
  let described = told.get(definition);
  if (described === undefined) {
    const { input, output } = definition;
    described = { input: describeOrNull(input), output: describeOrNull(output) };
    told.set(definition, described);
  }
  return described;
}

type ResultEncoder = Pick<ShapedEncoder, "encode">;

function run(name: string, definition: TypedDefinition, kept: ResultKeeper): RawFunction {
  const { run } = definition;
  const checkInput = compileCheck(definition.input, "input");
  const checkOutput = compileCheck(definition.output, "output");
  const described = descriptionOf(definition);
  let maxBytes = 0;
  /** Made for the first caller that knows of shapes. */
  let shaped: { inputs: ShapedDecoder; results: ShapedEncoder } | undefined;
  const byShape = () => {
    const shapes = shapesOf(described);
    return (shaped = {
      inputs: new ShapedDecoder(decoder, shapes.input),
      results: new ShapedEncoder(encoder, shapes.output, false),
    });
  };

  const answer = (by: ResultEncoder, checked: unknown, output: Bytes, ctx: FunctionContext) => {
    let length: number;
    try {
      length = by.encode(checked, output, maxBytes);
    } catch (error) {
      throw invalid(name, "output", error);
    }
    if (encoder.bytes === output) return length;
    throw kept.keep(encoder.bytes.subarray(0, length), ctx);
  };
  /** After an `await`, when others may have kept much meanwhile. */
  const answerLater = (by: ResultEncoder, checked: unknown, output: Bytes, ctx: FunctionContext) =>
    kept.full
      ? kept.whenRoom(ctx, () => answer(by, checked, output, ctx))
      : answer(by, checked, output, ctx);
  const finish = (by: ResultEncoder, result: unknown, output: Bytes, ctx: FunctionContext) => {
    let checked: unknown;
    try {
      checked = checkOutput(result);
    } catch (error) {
      throw invalid(name, "output", error);
    }
    return isThenable(checked)
      ? settled(name, "output", checked).then((value) => answerLater(by, value, output, ctx))
      : answerLater(by, checked, output, ctx);
  };
  const start = (by: ResultEncoder, value: unknown, output: Bytes, ctx: FunctionContext) => {
    const result: unknown = run(value as never, ctx);
    return isThenable(result)
      ? Promise.resolve(result).then((value) => finish(by, value, output, ctx))
      : finish(by, result, output, ctx);
  };
  const startChecked = (
    by: ResultEncoder,
    checked: unknown,
    output: Bytes,
    ctx: FunctionContext,
  ): number | Promise<number> =>
    isThenable(checked)
      ? settled(name, "input", checked).then((value) => start(by, value, output, ctx))
      : start(by, checked, output, ctx);
  /** Empties the value's views of the call's memory when a function returns; for an asynchronous function the worker does. */
  const callLent = (
    by: ResultEncoder,
    checked: unknown,
    input: Bytes,
    output: Bytes,
    ctx: FunctionContext,
  ) => {
    let result: number | Promise<number> | undefined;
    try {
      return (result = startChecked(by, checked, output, ctx));
    } finally {
      if (!isThenable(result) && !input.buffer.detached) input.buffer.transfer(0);
    }
  };
  const call: RawFunction = (input, output, ctx) => {
    if (kept.full) return kept.whenRoom(ctx, () => call(input, output, ctx));
    if (maxBytes === 0) maxBytes = Math.max(MAX_RESULT_BYTES, ctx.memory.byteLength);
    let by: ResultEncoder = encoder;
    let checked: unknown;
    try {
      let value: unknown;
      if (hasHead(input)) {
        const { inputs, results } = shaped ?? byShape();
        if (readsShaped(input)) by = results;
        value = inputs.decode(input, input.length, false);
      } else value = decoder.decode(input, input.length, false);
      checked = checkInput(value);
    } catch (error) {
      throw invalid(name, "input", error);
    }
    return decoder.lends
      ? callLent(by, checked, input, output, ctx)
      : startChecked(by, checked, output, ctx);
  };
  return call;
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

/**
 * The values of one function. The first are MessagePack: to make code for their shape takes both sides some milliseconds of a program
 * that has just begun, which is when it waits for its first result.
 */
class CallersValues {
  readonly #description: Description;
  #left = FIRST_VALUES;
  #encoder: Pick<ShapedEncoder, "encode"> = callersEncoder;
  #decoder: Pick<ShapedDecoder, "decode"> = callersDecoder;
  #sent: Pick<ShapedDecoder, "decode"> = callersDecoder;

  constructor(description: Description) {
    this.#description = description;
  }

  get bytes(): Bytes {
    return callersEncoder.bytes;
  }

  encode(value: unknown, into: Bytes, limit: number): number {
    if (this.#left > 0 && --this.#left === 0) this.#useShapes();
    return this.#encoder.encode(value, into, limit);
  }

  decode(bytes: Bytes, length: number, copies: boolean): unknown {
    return this.#decoder.decode(bytes, length, copies);
  }

  /** A copy of the value that has been encoded. */
  decodeSent(encoded: Bytes): unknown {
    return this.#sent.decode(encoded, encoded.length, true);
  }

  #useShapes(): void {
    const { input, output } = agreedShapes(this.#description);
    if (input === undefined && output === undefined) return;
    this.#encoder = new ShapedEncoder(callersEncoder, input, output !== undefined);
    this.#decoder = new ShapedDecoder(callersDecoder, output);
    this.#sent = new ShapedDecoder(callersDecoder, input);
  }
}

/** Those of the description, if the node has them, too. */
function agreedShapes(description: Description): Shapes {
  if (description.form === undefined || description.form !== formOf(description)) return NO_SHAPES;
  try {
    return shapesOf(description);
  } catch (error) {
    // A later version may describe what this one does not know: the values are MessagePack then.
    if (error instanceof TypeError) return NO_SHAPES;
    throw error;
  }
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
