/**
 * Values to MessagePack, written straight into the memory that they travel in, in one pass that also refuses what would not
 * arrive as it is. Any MessagePack library reads the result; what MessagePack has no type for is an extension ({@link EXT}).
 */
import { Refusal, pointer } from "./refusal.ts";

/** Types of extensions. A typed array is `[array, padding, ..., elements]`, aligned so that it can be viewed in place. */
export const EXT = {
  undefined: 0,
  map: 1,
  set: 2,
  typedArray: 3,
  arrayBuffer: 4,
  date: -1,
} as const;

/** In the order of their numbers on the wire; `Uint8Array` is MessagePack's own binary. */
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
  ...(typeof Float16Array === "function" ? [Float16Array] : []),
] as const;

/** Deeper values are refused: both sides recurse. */
export const MAX_DEPTH = 256;
/** Longer strings are left to the platform; shorter ones are faster by hand. */
const SHORT_STRING = 32;
const MAX_BYTES = 2 ** 31 - 1;
const NUMBERS = new Map<unknown, number>(TYPED_ARRAYS.map((type, number) => [type, number]));
const text = new TextEncoder();

export class Encoder {
  /** Where the last value was encoded: the memory that was given, or memory of the encoder's own when that was too small. */
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #view = new DataView(this.bytes.buffer);
  #at = 0;
  #scratch = new Uint8Array(0);
  #depth = 0;
  /** The containers that are being written, and the key in each: for the path of what is refused, and for circles. */
  readonly #path: unknown[] = [];
  readonly #within: unknown[] = [];
  /** A view costs more than a small value: those of the memory that was used last are kept. */
  readonly #views = new WeakMap<Uint8Array, DataView<ArrayBuffer>>();

  /** Returns how many bytes of {@link bytes} the value takes. Throws {@link Refusal} with the path of what cannot travel. */
  encode(value: unknown, into: Uint8Array<ArrayBuffer>): number {
    if (this.#within.length > 0)
      throw new Refusal("", "has a property that makes a call of its own when it is read");
    this.#use(into);
    this.#at = 0;
    this.#depth = 0;
    try {
      this.#write(value);
    } finally {
      this.#within.length = 0;
    }
    return this.#at;
  }

  #use(bytes: Uint8Array<ArrayBuffer>): void {
    if (bytes === this.bytes && bytes.length > 0) return;
    let view = this.#views.get(bytes);
    if (view === undefined) {
      view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      this.#views.set(bytes, view);
    }
    this.bytes = bytes;
    this.#view = view;
  }

  /** Room for so many bytes more. What is written so far moves to memory of our own when there is none. */
  #reserve(bytes: number): number {
    const at = this.#at;
    const end = at + bytes;
    if (end > this.bytes.length) this.#grow(end);
    this.#at = end;
    return at;
  }

  #grow(bytes: number): void {
    if (bytes > MAX_BYTES) throw new Refusal("", "is larger than 2 GiB; split it");
    const old = this.bytes;
    if (this.#scratch.length < bytes || this.#scratch === old)
      this.#scratch = new Uint8Array(Math.min(MAX_BYTES, Math.max(4096, 2 * bytes)));
    this.#scratch.set(old.subarray(0, this.#at));
    this.#use(this.#scratch);
  }

  #refuse(message: string): never {
    throw new Refusal(pointer(this.#path.slice(0, this.#depth)), message);
  }

  #write(value: unknown): void {
    switch (typeof value) {
      case "number":
        return this.#number(value);
      case "string":
        return this.#string(value);
      case "boolean":
        return this.#byte(value ? 0xc3 : 0xc2);
      case "undefined":
        return this.#bytes3(0xd4, EXT.undefined, 0);
      case "bigint":
        return this.#bigint(value);
      case "object":
        return value === null ? this.#byte(0xc0) : this.#object(value);
      default:
        this.#refuse(`a ${typeof value} cannot travel`);
    }
  }

  #byte(byte: number): void {
    const at = this.#reserve(1);
    this.bytes[at] = byte;
  }

  #bytes3(a: number, b: number, c: number): void {
    const at = this.#reserve(3);
    const { bytes } = this;
    bytes[at] = a;
    bytes[at + 1] = b;
    bytes[at + 2] = c;
  }

  #number(value: number): void {
    // Not -0, whose sign an integer would lose.
    if (value === (value | 0) && (value !== 0 || 1 / value > 0)) {
      if (value >= 0 ? value < 0x80 : value >= -0x20) return this.#byte(value & 0xff);
      const at = this.#reserve(5);
      this.bytes[at] = value < 0 ? 0xd2 : 0xce;
      this.#view.setInt32(at + 1, value);
      return;
    }
    const at = this.#reserve(9);
    this.bytes[at] = 0xcb;
    this.#view.setFloat64(at + 1, value);
  }

  #bigint(value: bigint): void {
    const at = this.#reserve(9);
    if (BigInt.asIntN(64, value) === value) {
      this.bytes[at] = 0xd3;
      this.#view.setBigInt64(at + 1, value);
    } else if (BigInt.asUintN(64, value) === value) {
      this.bytes[at] = 0xcf;
      this.#view.setBigUint64(at + 1, value);
    } else this.#refuse("a bigint of more than 64 bits cannot travel; send it as a string");
  }

  #string(value: string): void {
    const { length } = value;
    if (length < SHORT_STRING) {
      const at = this.#reserve(1 + length);
      const { bytes } = this;
      let i = 0;
      for (; i < length; i++) {
        const code = value.charCodeAt(i);
        if (code >= 0x80) break;
        bytes[at + 1 + i] = code;
      }
      if (i === length) {
        bytes[at] = 0xa0 | length;
        return;
      }
      this.#at = at;
    }
    if (!value.isWellFormed())
      this.#refuse("half of a surrogate pair cannot travel in a string; send the bytes");
    // A character takes three bytes at most, for each of its 16-bit units.
    const at = this.#reserve(5 + 3 * length);
    const { written } = text.encodeInto(value, this.bytes.subarray(at + 5));
    this.bytes[at] = 0xdb;
    this.#view.setUint32(at + 1, written);
    this.#at = at + 5 + written;
  }

  /** A container's head: `short` with its length when that is below 16, else `long` and 32 bits. */
  #head(short: number, long: number, length: number): void {
    if (length < 16) return this.#byte(short | length);
    const at = this.#reserve(5);
    this.bytes[at] = long;
    this.#view.setUint32(at + 1, length);
  }

  #enter(value: object): number {
    const depth = this.#depth;
    for (let i = 0; i < depth; i++)
      if (this.#within[i] === value) this.#refuse("is circular: it contains itself");
    if (depth >= MAX_DEPTH) this.#refuse(`is nested more than ${MAX_DEPTH} deep`);
    this.#within[depth] = value;
    this.#depth = depth + 1;
    return depth;
  }

  #object(value: object): void {
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === Object.prototype) return this.#plain(value as Record<string, unknown>);
    if (prototype === Array.prototype) return this.#array(value as unknown[]);
    if (ArrayBuffer.isView(value)) return this.#binary(value);
    if (prototype === Map.prototype) return this.#map(value as Map<unknown, unknown>);
    if (prototype === Set.prototype) return this.#set(value as Set<unknown>);
    if (prototype === Date.prototype) return this.#date(value as Date);
    if (prototype === ArrayBuffer.prototype)
      return this.#extension(EXT.arrayBuffer, new Uint8Array(value as ArrayBuffer));
    if (prototype === null)
      this.#refuse("an object without a prototype cannot travel; spread it into a plain one");
    const { name = "" } = (value as { constructor?: { name?: string } }).constructor ?? {};
    this.#refuse(`an instance of ${name || "a class"} cannot travel; send a plain object`);
  }

  #plain(value: Record<string, unknown>): void {
    const depth = this.#enter(value);
    const keys = Object.keys(value);
    this.#head(0x80, 0xdf, keys.length);
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]!;
      this.#path[depth] = key;
      if (key === "__proto__") this.#refuse("a property of this name cannot travel");
      this.#string(key);
      this.#write(value[key]);
    }
    this.#refuseSymbols(value, depth);
    this.#depth = depth;
  }

  #refuseSymbols(value: object, depth: number): void {
    const symbols = Object.getOwnPropertySymbols(value);
    if (symbols.length === 0) return;
    this.#path[depth] = symbols[0]!.toString();
    this.#refuse("a property named by a symbol cannot travel");
  }

  #array(value: readonly unknown[]): void {
    const depth = this.#enter(value);
    const { length } = value;
    this.#head(0x90, 0xdd, length);
    for (let i = 0; i < length; i++) {
      this.#path[depth] = i;
      const item = value[i];
      if (item === undefined && !Object.hasOwn(value, i))
        this.#refuse("a hole in an array cannot travel; fill it");
      this.#write(item);
    }
    // Every index is there, so one more key is one that is no index.
    const keys = Object.keys(value);
    if (keys.length > length) {
      this.#path[depth] = keys[length];
      this.#refuse("a named property of an array cannot travel");
    }
    this.#depth = depth;
  }

  #map(value: Map<unknown, unknown>): void {
    const depth = this.#enter(value);
    this.#refuseNamed(value, depth);
    const body = this.#openExtension(EXT.map);
    this.#head(0x80, 0xdf, value.size);
    for (const [key, item] of value) {
      this.#path[depth] = key;
      this.#write(key);
      this.#write(item);
    }
    this.#closeExtension(body);
    this.#depth = depth;
  }

  #set(value: Set<unknown>): void {
    const depth = this.#enter(value);
    this.#refuseNamed(value, depth);
    const body = this.#openExtension(EXT.set);
    this.#head(0x90, 0xdd, value.size);
    let index = 0;
    for (const item of value) {
      this.#path[depth] = index++;
      this.#write(item);
    }
    this.#closeExtension(body);
    this.#depth = depth;
  }

  #refuseNamed(value: object, depth: number): void {
    const [name] = Object.keys(value);
    if (name === undefined) return this.#refuseSymbols(value, depth);
    this.#path[depth] = name;
    this.#refuse("a property of one's own on a collection cannot travel");
  }

  #date(value: Date): void {
    const ms = value.getTime();
    if (Number.isNaN(ms)) this.#refuse("an invalid Date cannot travel");
    const seconds = Math.floor(ms / 1000);
    const at = this.#reserve(15);
    this.bytes[at] = 0xc7;
    this.bytes[at + 1] = 12;
    this.bytes[at + 2] = EXT.date & 0xff;
    this.#view.setUint32(at + 3, (ms - 1000 * seconds) * 1e6);
    this.#view.setBigInt64(at + 7, BigInt(seconds));
  }

  #binary(value: ArrayBufferView): void {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    if (value instanceof Uint8Array && !(value instanceof Uint8ClampedArray)) {
      const at = this.#reserve(5 + bytes.length);
      this.bytes[at] = 0xc6;
      this.#view.setUint32(at + 1, bytes.length);
      this.bytes.set(bytes, at + 5);
      return;
    }
    const number = NUMBERS.get(value.constructor);
    if (number === undefined)
      this.#refuse(`a ${value.constructor.name} cannot travel; send a typed array`);
    const size = TYPED_ARRAYS[number]!.BYTES_PER_ELEMENT;
    // Head, number and padding take eight bytes and as many as it takes to align the elements.
    const padding = -(this.#at + 8) & (size - 1);
    const at = this.#reserve(8 + padding + bytes.length);
    this.bytes[at] = 0xc9;
    this.#view.setUint32(at + 1, 2 + padding + bytes.length);
    this.bytes[at + 5] = EXT.typedArray;
    this.bytes[at + 6] = number;
    this.bytes[at + 7] = padding;
    this.bytes.fill(0, at + 8, at + 8 + padding);
    this.bytes.set(bytes, at + 8 + padding);
  }

  #extension(type: number, bytes: Uint8Array): void {
    const body = this.#openExtension(type);
    const at = this.#reserve(bytes.length);
    this.bytes.set(bytes, at);
    this.#closeExtension(body);
  }

  /** An extension whose length is not yet known. */
  #openExtension(type: number): number {
    const at = this.#reserve(6);
    this.bytes[at] = 0xc9;
    this.bytes[at + 5] = type;
    return at + 6;
  }

  #closeExtension(body: number): void {
    this.#view.setUint32(body - 5, this.#at - body);
  }
}
