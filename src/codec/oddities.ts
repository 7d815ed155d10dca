/**
 * Finds what a value would lose in transit, and words the refusal. The encoder asks here only when a quick look was not enough, or
 * when it refuses.
 */
import { estimateShallowMemoryUsageOf } from "bun:jsc";
import { types } from "node:util";
import { TYPED_ARRAYS } from "./wire.ts";

/** An own property that would not arrive: its name, and what is wrong with it. */
export interface Oddity {
  key: string | symbol;
  problem: string;
}

const CHANGED = "has changed while it was read";
const SYMBOL = "a property named by a symbol cannot travel";
const OWN = "a property of one's own on what is not a plain object cannot travel";

/**
 * Properties of one's own lie beside an array's elements, in memory that the engine counts: so an array without any is known at
 * once, where listing the names of its elements takes longer than sending them.
 */
const ARRAY_SIZE = estimateShallowMemoryUsageOf([]);
/** A view whose `buffer` has been asked for: its elements are counted with the buffer. */
const VIEW_SIZE = estimateShallowMemoryUsageOf(new Uint8Array(new ArrayBuffer(8)));

/** Of an object of the usual capacity, which a literal need not have; of built-ins only views are as large. */
const PLAIN_SIZE = estimateShallowMemoryUsageOf(JSON.parse("{}"));

/** What an array has besides `length` elements, all of which are there. */
export function oddityOfArray(value: readonly unknown[], length: number): Oddity | undefined {
  if (value.length !== length) return { key: "length", problem: CHANGED };
  if (estimateShallowMemoryUsageOf(value) === ARRAY_SIZE) return undefined;
  const key = Reflect.ownKeys(value).find((name) => name !== "length" && !isIndex(name, length));
  return key === undefined ? undefined : named(key, "a named property of an array cannot travel");
}

/** What a typed array has besides its elements. Its `buffer` has been asked for. */
export function oddityOfView(value: ArrayBufferView & { length: number }): Oddity | undefined {
  if (estimateShallowMemoryUsageOf(value) === VIEW_SIZE) return undefined;
  const [symbol] = Object.getOwnPropertySymbols(value);
  const key = symbol ?? Reflect.ownKeys(value).find((name) => !isIndex(name, value.length));
  return key === undefined ? undefined : named(key, OWN);
}

/** What a map, a set, a date or a buffer has besides what it holds. */
export function oddityOfBuiltIn(value: object): Oddity | undefined {
  const [key] = Reflect.ownKeys(value);
  return key === undefined ? undefined : named(key, OWN);
}

/** What a plain object has besides the properties that were written, those of `keys`. */
export function oddityOfPlain(
  value: object,
  keys: readonly string[],
  all: readonly (string | symbol)[],
): Oddity {
  const written = new Set<string | symbol>(keys);
  const key = all.find((name) => !written.has(name));
  if (key === undefined) return { key: keys.at(-1)!, problem: CHANGED };
  const hidden = Object.getOwnPropertyDescriptor(value, key)?.enumerable === false;
  return named(key, hidden ? "a property that is not enumerable cannot travel" : CHANGED);
}

function named(key: string | symbol, problem: string): Oddity {
  return { key, problem: typeof key === "symbol" ? SYMBOL : problem };
}

function isIndex(name: string | symbol, length: number): boolean {
  if (typeof name !== "string") return false;
  const index = Number(name);
  return index >= 0 && index < length && String(Math.trunc(index)) === name;
}

/** What an object really is whose prototype says that it is a plain one; undefined for a plain one. */
export function disguised(value: object): string | undefined {
  if (estimateShallowMemoryUsageOf(value) === PLAIN_SIZE && !ArrayBuffer.isView(value))
    return undefined;
  if (Array.isArray(value)) return "an array";
  for (const [name, is] of BUILT_INS) if (is(value)) return name;
  return undefined;
}

const BUILT_INS: readonly (readonly [string, (value: object) => boolean])[] = [
  ["a view of a buffer", ArrayBuffer.isView],
  ["a buffer", types.isAnyArrayBuffer],
  ["a map", types.isMap],
  ["a set", types.isSet],
  ["a date", types.isDate],
  ["a promise", types.isPromise],
  ["an error", types.isNativeError],
  ["a regular expression", types.isRegExp],
  ["a boxed primitive", types.isBoxedPrimitive],
  ["a weak map", types.isWeakMap],
  ["a weak set", types.isWeakSet],
  ["a generator", types.isGeneratorObject],
  ["an iterator", types.isMapIterator],
  ["an iterator", types.isSetIterator],
];

/** Why an instance of a class does not travel. */
export function refusalOf(value: object): string {
  if (types.isPromise(value)) return "a promise cannot travel; await it first";
  if (types.isSharedArrayBuffer(value)) return "shared memory cannot travel; send a copy of it";
  if (TRAVELLING.has(Object.getPrototypeOf(value)))
    return `an object that only pretends to be of class ${classNameOf(value)} cannot travel`;
  const instead =
    value instanceof DataView
      ? "a typed array"
      : types.isBoxedPrimitive(value)
        ? "the primitive"
        : "a plain object";
  return `an instance of ${classNameOf(value)} cannot travel; send ${instead}`;
}

/** Of classes whose instances do travel. */
const TRAVELLING = new Set<unknown>(
  [Array, Map, Set, Date, ArrayBuffer, Uint8Array, Buffer, ...TYPED_ARRAYS].map(
    ({ prototype }) => prototype,
  ),
);

function classNameOf(value: object): string {
  try {
    const { name } = (value as { constructor: { name: unknown } }).constructor;
    if (typeof name === "string" && name !== "") return name.slice(0, 100);
  } catch {
    // An object without a constructor, or with one that throws.
  }
  return "a class";
}

/** Why a view's buffer does not travel; undefined when it does. */
export function refusalOfBuffer(buffer: ArrayBufferLike): string | undefined {
  if (!types.isArrayBuffer(buffer)) return "shared memory cannot travel; send a copy: slice() it";
  if (buffer.resizable)
    return "a buffer that can be resized cannot travel; send a copy: slice() it";
  if (buffer.byteLength === 0 && buffer.detached)
    return "is detached: its memory has been transferred";
  return undefined;
}
