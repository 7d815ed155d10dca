/**
 * What `defineFunction` returned, as a function on memory: decodes, validates, runs, validates, encodes. A struct function gets
 * views of the memory itself.
 */
import { InvalidValue } from "../../base/errors.ts";
import { type Check, compileCheck, hasOwnRules, isThenable } from "../../schema/checker.ts";
import { Decoder } from "../../codec/decoder.ts";
import type {
  AnyDefinition,
  StructDefinition,
  TypedDefinition,
} from "../../function/define-function.ts";
import { Encoder } from "../../codec/encoder.ts";
import type { FunctionContext } from "../../function/context.ts";
import type { RawFunction } from "../../function/raw.ts";
import { Refusal } from "../../codec/refusal.ts";
import { describeSchema } from "../../schema/description.ts";
import { isTypeBox } from "../../schema/kind.ts";
import type { Schema } from "../../schema/types.ts";
import { type Struct, isStruct } from "../../codec/struct.ts";
import type { FunctionDescription } from "../../protocol/messages.ts";
import type { KeptResults } from "../results/kept-results.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Characters of a schema that travels with the grant; longer ones are left to the worker, as a Standard Schema is. */
const MAX_DESCRIPTION = 64 * 1024;

/** Longer results are not made, unless the lease has room for them. */
const MAX_RESULT_BYTES = 64 * 1024 * 1024;

/** A decoder keeps what it has learned of keys; calls of a worker do not overlap while they decode or encode. */
const encoder = new Encoder();
const decoder = new Decoder();

export interface PreparedFunction {
  run: RawFunction;
  description: FunctionDescription;
}

/** Throws `TypeError` when a schema is none. */
export function prepareFunction(
  name: string,
  definition: AnyDefinition,
  kept: KeptResults,
): PreparedFunction {
  const { input, output } = definition;
  if (isStruct(input) && isStruct(output))
    return {
      run: runStruct(name, definition as unknown as StructDefinition),
      description: { kind: "struct", input: input.fields, output: output.fields },
    };
  return {
    run: runTyped(name, definition as unknown as TypedDefinition, kept),
    // What comes out is checked here, where it is made.
    description: { kind: "typed", input: describeOrNull(input as Schema), output: null },
  };
}

function describeOrNull(schema: Schema): unknown {
  if (!isTypeBox(schema) || hasOwnRules()) return null;
  const description = describeSchema(schema);
  return JSON.stringify(description).length > MAX_DESCRIPTION ? null : description;
}

function runTyped(name: string, definition: TypedDefinition, kept: KeptResults): RawFunction {
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
  /** What of the value lies in the call's memory ends with the call; with one that goes on, the worker sees to it. */
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

function runStruct(name: string, { input, output, run }: StructDefinition): RawFunction {
  const inputs = new ViewCache(name, "input", input);
  const outputs = new ViewCache(name, "output", output);
  const length = output.byteLength;
  return (from, to, ctx) => {
    const source = inputs.at(from);
    const target = outputs.at(to);
    // A field that the function leaves alone is 0, not what an earlier call has left.
    to.fill(0, 0, length);
    const result: unknown = run(source as never, target as never, ctx);
    return isThenable(result) ? Promise.resolve(result).then(() => length) : length;
  };
}

/** Callers use the same memory again, so the worker passes the same bytes, and the same views of structs serve them. */
class ViewCache {
  readonly #name: string;
  readonly #side: "input" | "output";
  readonly #struct: Struct;
  #bytes: Bytes | undefined;
  #view: unknown;
  readonly #views = new WeakMap<Bytes, unknown>();

  constructor(name: string, side: "input" | "output", struct: Struct) {
    this.#name = name;
    this.#side = side;
    this.#struct = struct;
  }

  at(bytes: Bytes): unknown {
    if (bytes === this.#bytes) return this.#view;
    let view = this.#views.get(bytes);
    if (view === undefined) {
      if (bytes.length < this.#struct.byteLength || bytes.byteOffset % 8 !== 0) {
        const problem = `a struct of ${this.#struct.byteLength} bytes was expected, and ${bytes.length} have come`;
        throw new InvalidValue(this.#name, this.#side, "", problem);
      }
      view = this.#struct.view(bytes.buffer, bytes.byteOffset);
      this.#views.set(bytes, view);
    }
    this.#bytes = bytes;
    return (this.#view = view);
  }
}
