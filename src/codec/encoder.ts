/**
 * Values to MessagePack, written straight into the memory that they travel in, in one pass that also refuses values that would not
 * arrive unchanged. Any MessagePack library reads the result; types that MessagePack lacks are extensions ({@link EXT}).
 *
 * Three things are no part of a value: an object without a prototype arrives as a plain one, a property with a getter as what it
 * gives, and a part that is in several places as a copy in each.
 */
import { types } from "node:util";
import {
  disguised,
  oddityOfArray,
  oddityOfBuiltIn,
  oddityOfPlain,
  oddityOfView,
  refusalOf,
  refusalOfBuffer,
} from "./oddities.ts";
import { Refusal, TooLarge } from "./refusal.ts";
import type { ShapeSink } from "./shape.ts";
import { EXT, HEAD_BYTES, MARK, TYPED_ARRAYS } from "./wire.ts";
import type { WriteShape } from "./write-shape.ts";
import { MAX_BYTES, Writer } from "./writer.ts";

const NUMBERS = new Map<unknown, number>(
  TYPED_ARRAYS.map(({ prototype }, number) => [prototype, number]),
);

export class Encoder extends Writer implements ShapeSink {
  /**
   * Returns how many bytes of {@link bytes} the value takes, with a head where one is given. Throws {@link Refusal} with the path of
   * what cannot travel, `TooLarge` when it takes more than `limit` bytes.
   */
  encode(value: unknown, into: Uint8Array<ArrayBuffer>, limit = MAX_BYTES, head = 0): number {
    this.begin(into, limit);
    try {
      if (head !== 0) this.#writeHead(head);
      this.#write(value);
    } catch (error) {
      throw error instanceof Refusal ? error : this.unreadable(error);
    } finally {
      this.end();
    }
    return this.at;
  }

  /**
   * As {@link encode}, by a `write` that knows the shape. Returns -1 when the value is not of it, or cannot travel so: then it is for
   * {@link encode} to write or to refuse.
   */
  encodeShaped(
    write: WriteShape,
    value: unknown,
    into: Uint8Array<ArrayBuffer>,
    limit: number,
    head: number,
  ): number {
    this.begin(into, limit);
    if (typeof value === "object" && value !== null) this.enterShaped(0, value, "");
    try {
      this.#writeHead(head);
      return write(this, value, HEAD_BYTES);
    } catch (error) {
      if (error instanceof Refusal && !(error instanceof TooLarge)) throw error;
      // It is read, and thrown, once more; and as MessagePack it may take less.
      return -1;
    } finally {
      this.end();
    }
  }

  writePart(value: unknown, at: number, depth: number): number {
    this.at = at;
    this.depth = depth;
    try {
      this.#write(value);
    } catch (error) {
      throw error instanceof Refusal ? error : this.unreadable(error);
    }
    return this.at;
  }

  #writeHead(head: number): void {
    const at = this.reserve(HEAD_BYTES);
    this.bytes[at] = MARK;
    this.bytes[at + 1] = head;
  }

  #write(value: unknown): void {
    switch (typeof value) {
      case "number":
        return this.#number(value);
      case "string":
        return this.string(value);
      case "boolean":
        return this.byte(value ? 0xc3 : 0xc2);
      case "undefined":
        return this.bytes3(0xd4, EXT.undefined, 0);
      case "bigint":
        return this.#bigint(value);
      case "object":
        return value === null ? this.byte(0xc0) : this.#object(value);
      default:
        this.refuse(`a ${typeof value} cannot travel`);
    }
  }

  #number(value: number): void {
    // Not -0, whose sign an integer would lose.
    if (value === (value | 0) && (value !== 0 || 1 / value > 0)) {
      if (value >= 0 ? value < 0x80 : value >= -0x20) return this.byte(value & 0xff);
      const at = this.reserve(5);
      this.bytes[at] = value < 0 ? 0xd2 : 0xce;
      this.words.setInt32(at + 1, value);
      return;
    }
    const at = this.reserve(9);
    this.bytes[at] = 0xcb;
    this.words.setFloat64(at + 1, value);
  }

  #bigint(value: bigint): void {
    const at = this.reserve(9);
    if (BigInt.asIntN(64, value) === value) {
      this.bytes[at] = 0xd3;
      this.words.setBigInt64(at + 1, value);
    } else if (BigInt.asUintN(64, value) === value) {
      this.bytes[at] = 0xcf;
      this.words.setBigUint64(at + 1, value);
    } else this.refuse("a bigint of more than 64 bits cannot travel; send it as a string");
  }

  #object(value: object): void {
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === Object.prototype) return this.#plain(value as Record<string, unknown>);
    if (prototype === Array.prototype && Array.isArray(value)) return this.#array(value);
    if (ArrayBuffer.isView(value)) return this.#view(value, prototype);
    if (prototype === Map.prototype && types.isMap(value)) return this.#map(value);
    if (prototype === Set.prototype && types.isSet(value)) return this.#set(value);
    if (prototype === Date.prototype && types.isDate(value)) return this.#date(value);
    if (prototype === ArrayBuffer.prototype && types.isArrayBuffer(value))
      return this.#buffer(value);
    if (prototype === null) {
      this.#refuseDisguised(value);
      return this.#plain(value as Record<string, unknown>);
    }
    this.refuse(refusalOf(value));
  }

  #plain(value: Record<string, unknown>): void {
    const keys = Object.keys(value);
    const { length } = keys;
    // Anything else has no properties of its own, or begins with an index.
    if (length === 0 || keys[0] === "0") this.#refuseDisguised(value);
    const depth = this.enter(value);
    this.head(0x80, 0xdf, length);
    for (let i = 0; i < length; i++) {
      const key = keys[i]!;
      this.path[depth] = key;
      if (key === "__proto__") this.refuse("a property of this name cannot travel");
      this.string(key);
      const item = value[key];
      if (item === undefined && !Object.hasOwn(value, key)) this.refuse("has gone");
      this.#write(item);
    }
    const all = Reflect.ownKeys(value);
    if (all.length !== length) this.refuseOddity(oddityOfPlain(value, keys, all), depth);
    this.depth = depth;
  }

  #refuseDisguised(value: object): void {
    const name = disguised(value);
    if (name !== undefined) this.refuse(`${name} with another prototype cannot travel`);
  }

  #array(value: readonly unknown[]): void {
    const depth = this.enter(value);
    const { length } = value;
    this.head(0x90, 0xdd, length);
    for (let i = 0; i < length; i++) {
      this.path[depth] = i;
      const item = value[i];
      if (item === undefined && !Object.hasOwn(value, i))
        this.refuse("a hole in an array cannot travel; fill it");
      this.#write(item);
    }
    const oddity = oddityOfArray(value, length);
    if (oddity !== undefined) this.refuseOddity(oddity, depth);
    this.depth = depth;
  }

  #map(value: Map<unknown, unknown>): void {
    const depth = this.enter(value);
    this.#refuseOwn(value, depth);
    const body = this.openExtension(EXT.map);
    const { size } = value;
    this.head(0x80, 0xdf, size);
    let index = 0;
    for (const [key, item] of value) {
      // An object has no name, and the text of a function is none.
      const named = typeof key !== "object" && typeof key !== "function";
      this.path[depth] = named ? key : index;
      if (++index > size) break;
      this.#write(key);
      this.#write(item);
    }
    if (index !== size) this.refuse("the map has changed while it was read");
    this.closeExtension(body);
    this.depth = depth;
  }

  #set(value: Set<unknown>): void {
    const depth = this.enter(value);
    this.#refuseOwn(value, depth);
    const body = this.openExtension(EXT.set);
    const { size } = value;
    this.head(0x90, 0xdd, size);
    let index = 0;
    for (const item of value) {
      this.path[depth] = index;
      if (++index > size) break;
      this.#write(item);
    }
    if (index !== size) this.refuse("the set has changed while it was read");
    this.closeExtension(body);
    this.depth = depth;
  }

  #refuseOwn(value: object, depth: number): void {
    const oddity = oddityOfBuiltIn(value);
    if (oddity !== undefined) this.refuseOddity(oddity, depth);
  }

  #date(value: Date): void {
    this.#refuseOwn(value, this.depth);
    const ms = value.getTime();
    if (Number.isNaN(ms)) this.refuse("an invalid Date cannot travel");
    const seconds = Math.floor(ms / 1000);
    const at = this.reserve(15);
    this.bytes[at] = 0xc7;
    this.bytes[at + 1] = 12;
    this.bytes[at + 2] = EXT.date & 0xff;
    this.words.setUint32(at + 3, (ms - 1000 * seconds) * 1e6);
    this.words.setBigInt64(at + 7, BigInt(seconds));
  }

  #view(value: ArrayBufferView, prototype: unknown): void {
    const plain = prototype === Uint8Array.prototype;
    const number = plain || prototype === Buffer.prototype ? -1 : NUMBERS.get(prototype);
    if (number === undefined) this.refuse(refusalOf(value));
    const array = value as Uint8Array<ArrayBuffer>;
    const type = number < 0 ? Uint8Array : TYPED_ARRAYS[number]!;
    const genuine =
      number < 0 ? types.isUint8Array(array) : array[Symbol.toStringTag] === type.name;
    if (!genuine) this.refuse("a typed array with another prototype cannot travel");
    const problem = refusalOfBuffer(array.buffer);
    if (problem !== undefined) this.refuse(problem);
    const oddity = oddityOfView(array);
    if (oddity !== undefined) this.refuseOddity(oddity, this.depth);
    const bytes = plain ? array : new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    if (plain) {
      const at = this.reserve(5 + bytes.length);
      this.bytes[at] = 0xc6;
      this.words.setUint32(at + 1, bytes.length);
      this.bytes.set(bytes, at + 5);
    } else if (number < 0) this.extension(EXT.buffer, bytes);
    else this.#typedArray(number, type.BYTES_PER_ELEMENT, bytes);
  }

  #typedArray(number: number, size: number, bytes: Uint8Array): void {
    // Head, number and padding take eight bytes and as many as it takes to align the elements.
    const padding = -(this.at + 8) & (size - 1);
    const at = this.reserve(8 + padding + bytes.length);
    this.bytes[at] = 0xc9;
    this.words.setUint32(at + 1, 2 + padding + bytes.length);
    this.bytes[at + 5] = EXT.typedArray;
    this.bytes[at + 6] = number;
    this.bytes[at + 7] = padding;
    this.bytes.fill(0, at + 8, at + 8 + padding);
    this.bytes.set(bytes, at + 8 + padding);
  }

  #buffer(value: ArrayBuffer): void {
    const problem = refusalOfBuffer(value);
    if (problem !== undefined) this.refuse(problem);
    this.#refuseOwn(value, this.depth);
    this.extension(EXT.arrayBuffer, new Uint8Array(value));
  }
}
