/**
 * MessagePack to values: the counterpart of `encoder.ts`. The bytes may come from anyone, so every length is checked against
 * the bytes that remain. Binary parts are views of the input unless the caller asks for copies.
 */
import { latin1Slice } from "./native-text.ts";
import type { ReadShape } from "./read-shape.ts";
import { Refusal } from "./refusal.ts";
import { LONG, type ShapeSource } from "./shape.ts";
import { EXT, MAX_DEPTH, TYPED_ARRAYS } from "./wire.ts";

/** Keys are short and come again: those that were met are kept, by a hash of their bytes; a power of two. */
const KEY_CACHE = 1024;
const MAX_CACHED_KEY = 32;
/** Up to here it pays to look whether a string is ASCII. */
const SHORT_STRING = 64;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export class Decoder implements ShapeSource {
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  /** The same bytes, for numbers. */
  words = new DataView(this.bytes.buffer);
  /** Where the next part begins, */
  at = 0;
  /** and where the last has ended. */
  end = 0;
  #depth = 0;
  #copies = false;
  /** Whether parts of the value that was decoded last lie in the bytes that it was decoded from. */
  lends = false;
  readonly #keys: (string | undefined)[] = new Array(KEY_CACHE).fill(undefined);
  readonly #views = new WeakMap<Uint8Array, DataView<ArrayBuffer>>();

  /**
   * The value in the bytes from `from` to `length`. With `copies` nothing of it lies in `bytes`; without, typed arrays do where they
   * are aligned. Throws {@link Refusal} when the bytes are no value that an encoder has written.
   */
  decode(bytes: Uint8Array<ArrayBuffer>, length: number, copies: boolean, from = 0): unknown {
    this.#begin(bytes, length, copies, from);
    const value = this.#read();
    if (this.at !== length) damaged();
    return value;
  }

  /** As {@link decode}, of a value that `read` knows the shape of. */
  decodeShaped(
    read: ReadShape,
    bytes: Uint8Array<ArrayBuffer>,
    length: number,
    copies: boolean,
    from: number,
  ): unknown {
    this.#begin(bytes, length, copies, from);
    return read(this, from);
  }

  readText(at: number): string {
    this.at = at;
    const length = this.#uint8();
    if (length !== LONG) return this.#string(length);
    const place = this.#take(4);
    return this.#string(this.words.getUint32(place, true));
  }

  readPart(at: number, depth: number): unknown {
    this.at = at;
    this.#depth = depth;
    return this.#read();
  }

  damaged(): never {
    return damaged();
  }

  #begin(bytes: Uint8Array<ArrayBuffer>, length: number, copies: boolean, from: number): void {
    if (length > bytes.length) damaged();
    if (bytes !== this.bytes) {
      let view = this.#views.get(bytes);
      if (view === undefined) {
        view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
        this.#views.set(bytes, view);
      }
      this.bytes = bytes;
      this.words = view;
    }
    this.at = from;
    this.end = length;
    this.#depth = 0;
    this.#copies = copies;
    this.lends = false;
  }

  /** Moves on by so many bytes; returns where they begin. */
  #take(bytes: number): number {
    const at = this.at;
    if (bytes > this.end - at) damaged();
    this.at = at + bytes;
    return at;
  }

  #uint8(): number {
    return this.bytes[this.#take(1)]!;
  }

  #uint16(): number {
    return this.words.getUint16(this.#take(2));
  }

  #uint32(): number {
    return this.words.getUint32(this.#take(4));
  }

  #read(): unknown {
    const head = this.#uint8();
    if (head < 0x80) return head;
    if (head >= 0xe0) return head - 0x100;
    if (head < 0x90) return this.#object(head & 0x0f);
    if (head < 0xa0) return this.#array(head & 0x0f);
    if (head < 0xc0) return this.#string(head & 0x1f);
    switch (head) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#binary(this.#uint8());
      case 0xc5:
        return this.#binary(this.#uint16());
      case 0xc6:
        return this.#binary(this.#uint32());
      case 0xc7:
        return this.#extension(this.#uint8());
      case 0xc8:
        return this.#extension(this.#uint16());
      case 0xc9:
        return this.#extension(this.#uint32());
      case 0xca:
        return this.words.getFloat32(this.#take(4));
      case 0xcb:
        return this.words.getFloat64(this.#take(8));
      case 0xcc:
        return this.#uint8();
      case 0xcd:
        return this.#uint16();
      case 0xce:
        return this.#uint32();
      case 0xcf:
        return this.words.getBigUint64(this.#take(8));
      case 0xd0:
        return this.words.getInt8(this.#take(1));
      case 0xd1:
        return this.words.getInt16(this.#take(2));
      case 0xd2:
        return this.words.getInt32(this.#take(4));
      case 0xd3:
        return this.words.getBigInt64(this.#take(8));
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.#extension(1 << (head - 0xd4));
      case 0xd9:
        return this.#string(this.#uint8());
      case 0xda:
        return this.#string(this.#uint16());
      case 0xdb:
        return this.#string(this.#uint32());
      case 0xdc:
        return this.#array(this.#uint16());
      case 0xdd:
        return this.#array(this.#uint32());
      case 0xde:
        return this.#object(this.#uint16());
      case 0xdf:
        return this.#object(this.#uint32());
      default:
        return damaged();
    }
  }

  /** A container of so many items, each of which takes a byte at least. */
  #enter(items: number): void {
    if (items > this.end - this.at || ++this.#depth > MAX_DEPTH) damaged();
  }

  #object(length: number): Record<string, unknown> {
    this.#enter(2 * length);
    const object: Record<string, unknown> = {};
    for (let i = 0; i < length; i++) {
      const key = this.#key();
      if (key === "__proto__") damaged();
      object[key] = this.#read();
    }
    this.#depth--;
    return object;
  }

  #array(length: number): unknown[] {
    this.#enter(length);
    const array: unknown[] = [];
    for (let i = 0; i < length; i++) array.push(this.#read());
    this.#depth--;
    return array;
  }

  #key(): string {
    const head = this.bytes[this.at]!;
    if ((head & 0xe0) !== 0xa0) {
      const key = this.#read();
      return typeof key === "string" ? key : damaged();
    }
    this.at++;
    const length = head & 0x1f;
    const at = this.#take(length);
    const bytes = this.bytes;
    let hash = length;
    for (let i = 0; i < length; i++) hash = Math.imul(hash, 31) + bytes[at + i]!;
    const place = (hash ^ (hash >>> 10)) & (KEY_CACHE - 1);
    const known = this.#keys[place];
    if (known !== undefined && known.length === length) {
      let i = 0;
      while (i < length && known.charCodeAt(i) === bytes[at + i]) i++;
      // Characters above 127 take several bytes, so only a key of ASCII can be equal.
      if (i === length) return known;
    }
    const key = this.#text(at, length);
    if (length <= MAX_CACHED_KEY && key.length === length) this.#keys[place] = key;
    return key;
  }

  #string(length: number): string {
    return this.#text(this.#take(length), length);
  }

  #text(at: number, length: number): string {
    const bytes = this.bytes;
    if (length <= SHORT_STRING) {
      let i = 0;
      while (i < length && bytes[at + i]! < 0x80) i++;
      if (i === length) return latin1Slice.call(bytes, at, at + length);
    }
    try {
      return utf8.decode(bytes.subarray(at, at + length));
    } catch {
      return damaged();
    }
  }

  #binary(length: number): Uint8Array<ArrayBuffer> {
    const at = this.#take(length);
    if (this.#copies) return this.bytes.slice(at, at + length);
    this.lends = true;
    return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + at, length);
  }

  #extension(length: number): unknown {
    const type = this.words.getInt8(this.#take(1));
    const end = this.at + length;
    if (end > this.end) damaged();
    const value = this.#extensionOf(type, length);
    if (this.at !== end) damaged();
    return value;
  }

  #extensionOf(type: number, length: number): unknown {
    switch (type) {
      case EXT.undefined:
        this.#take(length);
        return undefined;
      case EXT.date:
        return this.#date(length);
      case EXT.map: {
        const head = this.#uint8();
        const pairs =
          (head & 0xf0) === 0x80 ? head & 0x0f : head === 0xdf ? this.#uint32() : damaged();
        this.#enter(2 * pairs);
        const map = new Map<unknown, unknown>();
        for (let i = 0; i < pairs; i++) {
          const key = this.#read();
          map.set(key, this.#read());
        }
        this.#depth--;
        return map;
      }
      case EXT.set: {
        const items = this.#read();
        return Array.isArray(items) ? new Set(items) : damaged();
      }
      case EXT.typedArray:
        return this.#typedArray(length);
      case EXT.arrayBuffer: {
        const at = this.#take(length);
        return this.bytes.slice(at, at + length).buffer;
      }
      case EXT.buffer: {
        const { buffer, byteOffset } = this.#binary(length);
        return Buffer.from(buffer, byteOffset, length);
      }
      default:
        return damaged();
    }
  }

  #date(length: number): Date {
    const date = new Date(this.#milliseconds(length));
    // Beyond the calendar.
    return Number.isNaN(date.getTime()) ? damaged() : date;
  }

  /** MessagePack's time stamp, in its three lengths. */
  #milliseconds(length: number): number {
    const at = this.#take(length);
    const view = this.words;
    if (length === 4) return 1000 * view.getUint32(at);
    if (length === 8) {
      const high = view.getUint32(at);
      const seconds = (high & 3) * 2 ** 32 + view.getUint32(at + 4);
      return 1000 * seconds + (high >>> 2) / 1e6;
    }
    if (length !== 12) damaged();
    return 1000 * Number(view.getBigInt64(at + 4)) + view.getUint32(at) / 1e6;
  }

  #typedArray(length: number): unknown {
    if (length < 2) damaged();
    const type = TYPED_ARRAYS[this.#uint8()] ?? damaged();
    const padding = this.#uint8();
    const bytes = length - 2 - padding;
    if (bytes < 0 || bytes % type.BYTES_PER_ELEMENT !== 0) damaged();
    this.#take(padding);
    const at = this.#take(bytes);
    const start = this.bytes.byteOffset + at;
    const { buffer } = this.bytes;
    if (this.#copies || start % type.BYTES_PER_ELEMENT !== 0)
      return new type(buffer.slice(start, start + bytes));
    this.lends = true;
    return new type(buffer, start, bytes / type.BYTES_PER_ELEMENT);
  }
}

function damaged(): never {
  throw new Refusal("", "the bytes are no value of this version of rfaas");
}
