/**
 * A kind of function: what a caller passes, how that gets to the function and back, and what a caller must know of it. Both ends of
 * a kind are one file, side by side, since they must agree. Functions that a module merely exports have none of this: they are raw,
 * and get the caller's memory as it is.
 */
import type { FUNCTION_BRAND } from "../base/brand.ts";
import type { Struct } from "../codec/struct.ts";
import type { FunctionContext } from "../function/context.ts";
import type { AnyDefinition } from "../function/define-function.ts";
import type { RawFunction } from "../function/raw.ts";
import type { FunctionDescription } from "../protocol/module-report.ts";
import type { ValueOfNothing } from "../schema/description.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a caller must know of a function's input and output. It comes from a node, so it may be anything. */
export type Description = Omit<FunctionDescription, "kind">;

/** As methods, so that the kind of one type of definition is a kind. */
export interface FunctionKind<Definition extends AnyDefinition = AnyDefinition> {
  /** Its definitions bear it, and its descriptions. */
  readonly name: Definition[typeof FUNCTION_BRAND];

  // ---- the worker's end ----

  /** What travels with the grant, in `room` characters of JSON, if it has any choice. */
  describe(definition: Definition, room: number): Description;
  /** The function on memory that the worker runs. Throws `TypeError` when its types are none. */
  prepare(name: string, definition: Definition, kept: ResultKeeper): RawFunction;

  // ---- the caller's end ----

  /**
   * How values are passed to the function and back.
   *
   * @throws {TypeError} the description is none, or not that of the definition: its sender is of another version, or hostile
   */
  open(description: Description, definition: AnyDefinition | undefined): Passing;
  /** What the function is called with when its caller gives nothing; undefined when it needs a value. */
  nothing(description: Description): ValueOfNothing | undefined;
}

/** How values are passed: the caller has handles for each way. */
export type Passing = ByValue | InPlace;

/** As bytes: the caller's value is encoded, and the function's result decoded. */
export interface ByValue {
  readonly by: "value";
  /** Reads a value and throws `Refusal` when the function would not take it. */
  readonly check: ((value: unknown) => unknown) | undefined;
  /** Throws `Refusal`, or `TooLarge` beyond `limit` bytes. */
  readonly encoder: {
    /** Where the last value was encoded: where it was to go, or elsewhere when there was no room. */
    readonly bytes: Bytes;
    encode(value: unknown, into: Bytes, limit: number): number;
  };
  /** Asks for what can only be said of an encoded value: throws, or rejects with, `Refusal`. */
  readonly ask: ((encoded: Bytes) => unknown) | undefined;
  readonly decoder: { decode(bytes: Bytes, length: number, copies: boolean): unknown };
}

/** As fields of memory that caller and function share. */
export interface InPlace {
  readonly by: "place";
  readonly input: Struct;
  readonly output: Struct;
}

/** Keeps results in the worker for which the caller has not given enough room. */
export interface ResultKeeper {
  /** Whether work that may end with a result must wait: {@link whenRoom}. */
  readonly full: boolean;
  whenRoom<Result>(ctx: FunctionContext, work: () => Result | PromiseLike<Result>): Promise<Result>;
  /** Keeps a copy. Returns what ends the call instead of an answer. */
  keep(result: Bytes, ctx: FunctionContext): Error;
}
