/**
 * What both sides know of a value before it travels, so that it need not be said: which properties an object has, in which order,
 * and of which type each is. A shape says less than a schema: whether a value is right is the schema's to say, its shape only how it
 * is written. `write-shape.ts` and `read-shape.ts` compile shapes to code.
 *
 * A block of bytes is the numbers, booleans and choices of a value, at places that the shape fixes, and behind them what has no
 * fixed length, in the order of the value's parts. All is little-endian.
 *
 * | shape    | at its fixed place                      | behind all fixed places                                       |
 * | -------- | --------------------------------------- | ------------------------------------------------------------- |
 * | number   | 8 bytes, a float                        |                                                               |
 * | date     | 8 bytes, milliseconds, a float          |                                                               |
 * | boolean  | 1 byte                                  |                                                               |
 * | constant | 1 byte, which one; nothing if it is one |                                                               |
 * | string   |                                         | 1 byte, its length, or 255 and 4 bytes; UTF-8                 |
 * | list     |                                         | 4 bytes, its length; a block for each item                    |
 * | tuple    | its items' fixed places                 | what its items have                                           |
 * | object   | its properties' fixed places            | what its properties have                                      |
 * | either   |                                         | 1 byte, which one; its block                                  |
 * | any      |                                         | a value of MessagePack (`encoder.ts`)                         |
 *
 * Of a property that may be missing, the fixed place is a byte that says whether it is there, and its block is behind.
 */

export type Constant = string | number | boolean | null | undefined;

export interface Property {
  readonly name: string;
  readonly optional: boolean;
  readonly shape: Shape;
}

export type Shape =
  | { readonly type: "any" | "number" | "date" | "boolean" | "string" }
  | { readonly type: "constant"; readonly values: readonly Constant[] }
  | { readonly type: "list"; readonly items: Shape }
  | { readonly type: "tuple"; readonly items: readonly Shape[] }
  | { readonly type: "object"; readonly properties: readonly Property[] }
  | { readonly type: "either"; readonly of: readonly Shape[] };

type Bytes = Uint8Array<ArrayBuffer>;

/** What code that writes by a shape writes to. Each method may move the bytes. */
export interface ShapeSink {
  readonly bytes: Bytes;
  readonly words: DataView;
  /** Where room must be made. */
  readonly bound: number;
  /** Makes room for so many bytes at `at`. */
  makeRoom(at: number, bytes: number): void;
  /** Writes a string. Returns its end, -1 when it cannot travel. */
  writeText(text: string, at: number): number;
  /** Says which containers the next part stands in, from the outermost on, and by which key. */
  enterShaped(depth: number, container: object, key: string | number): void;
  /** Writes a part of no known shape, within so many containers. Returns its end. Throws `Refusal` when it cannot travel. */
  writePart(value: unknown, at: number, depth: number): number;
}

/** What code that reads by a shape reads from. Each method leaves in `at` where the next part begins. */
export interface ShapeSource {
  readonly bytes: Bytes;
  readonly words: DataView;
  readonly at: number;
  readonly end: number;
  readText(at: number): string;
  /** A value of no known shape, within so many containers. */
  readPart(at: number, depth: number): unknown;
  /** Throws `Refusal`. */
  damaged(): never;
}

/** Part of what both sides compare: other bytes for a shape are another version. */
export const SHAPES_VERSION = 1;

export const ANY: Shape = { type: "any" };
/** A byte says which one of them it is. */
export const MAX_CHOICES = 256;
/** In place of a string's length: four bytes follow. */
export const LONG = 0xff;

/** Bytes at fixed places. */
export function fixedBytes(shape: Shape): number {
  switch (shape.type) {
    case "number":
    case "date":
      return 8;
    case "boolean":
      return 1;
    case "constant":
      return shape.values.length === 1 ? 0 : 1;
    case "tuple":
      return sum(shape.items.map(fixedBytes));
    case "object":
      return sum(shape.properties.map(({ optional, shape }) => (optional ? 1 : fixedBytes(shape))));
    default:
      return 0;
  }
}

/** The fewest bytes that a block takes: an item of a list must take some, or any length would do. */
export function leastBytes(shape: Shape): number {
  switch (shape.type) {
    case "string":
    case "any":
      return 1;
    case "list":
      return 4;
    case "either":
      return 1 + Math.min(...shape.of.map(leastBytes));
    case "tuple":
      return sum(shape.items.map(leastBytes));
    case "object":
      return sum(shape.properties.map(({ optional, shape }) => (optional ? 1 : leastBytes(shape))));
    default:
      return fixedBytes(shape);
  }
}

/** Whether `undefined` is of this shape: then a value must be told from one that is missing. */
export function mayBeUndefined(shape: Shape): boolean {
  switch (shape.type) {
    case "any":
      return true;
    case "constant":
      return shape.values.includes(undefined);
    case "either":
      return shape.of.some(mayBeUndefined);
    default:
      return false;
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
