/** The format that encoder and decoder share beyond MessagePack itself. */

/**
 * Types of extensions. A typed array is `[array, padding, ..., elements]`, aligned so that it can be viewed in place; a
 * `Uint8Array` is MessagePack's own binary.
 */
export const EXT = {
  undefined: 0,
  map: 1,
  set: 2,
  typedArray: 3,
  arrayBuffer: 4,
  /** A `Buffer`. */
  buffer: 5,
  date: -1,
} as const;

/** In the order of their numbers on the wire. */
export const TYPED_ARRAYS = [
  Int8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  Float16Array,
] as const;

/** A message that begins so has a head: a second byte, of {@link HEAD}. No value of MessagePack begins with it. */
export const MARK = 0xc1;
export const HEAD_BYTES = 2;
export const HEAD = {
  /** What follows is written by its shape (`shape.ts`); else it is a value of MessagePack. */
  shaped: 1,
  /** The sender of this value reads a result that is written by its shape. */
  readsShaped: 2,
} as const;

/** Deeper values are refused: both sides recurse. */
export const MAX_DEPTH = 256;
