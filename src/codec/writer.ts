/**
 * What all parts of the encoder write with: the memory that a value is encoded into, which grows before a byte is written, the heads
 * of MessagePack, and the way to the part that is being written, which names what is refused and shows circles.
 */
import type { Oddity } from "./oddities.ts";
import { utf8Write } from "./native-text.ts";
import { Refusal, TooLarge, messageOf, pointer } from "./refusal.ts";
import { LONG } from "./shape.ts";
import { bytesWithCopies } from "./shared-parts.ts";
import { MAX_DEPTH } from "./wire.ts";

export const MAX_BYTES = 2 ** 31 - 1;
/** Longer strings are left to the platform; shorter ones are faster by hand. */
const SHORT_STRING = 32;
/** Of longer ones it pays to know how many bytes they take. */
const LONG_STRING = 4096;
/** Memory of the encoder's own that is kept for the next value. */
const MAX_KEPT_BYTES = 16 * 1024 * 1024;
/** From then on, and whenever the value has doubled, a part is remembered, to see whether it comes again. */
const FIRST_MARK = 64 * 1024;
/** It is known how large the value will be. */
const MEASURED = Symbol();

export abstract class Writer {
  /** Where the last value was encoded: the memory that was given, or memory of the encoder's own when that was too small. */
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  /** The same bytes, for numbers. */
  words = new DataView(this.bytes.buffer);
  /** How much of them has been written. */
  protected at = 0;
  #scratch = new Uint8Array(0);
  /** How many containers are being written, */
  protected depth = 0;
  /** the key in each, for the path of what is refused, */
  protected readonly path: unknown[] = [];
  /** and the containers themselves, for circles. */
  readonly #within: unknown[] = [];
  /** Bytes that the value may take. */
  #limit = MAX_BYTES;
  /** Where room must be made, or a part marked. */
  bound = 0;
  /** A container that was being written when the value had become large, or {@link MEASURED}. */
  #mark: unknown;
  /** A view costs more than a small value: those of the memory that was used last are kept. */
  readonly #views = new WeakMap<Uint8Array, DataView<ArrayBuffer>>();

  /** For a value of `limit` bytes at most. Throws {@link Refusal} within the encoding of another. */
  protected begin(into: Uint8Array<ArrayBuffer>, limit: number): void {
    if (this.#within.length > 0)
      throw new Refusal("", "has a property that makes a call of its own when it is read");
    this.#limit = limit < MAX_BYTES ? limit : MAX_BYTES;
    this.#use(into);
    this.bound = Math.min(into.length, FIRST_MARK);
    this.at = 0;
    this.depth = 0;
  }

  /** What is written next by a shape, within so many containers, is what the last of them has by this key. */
  enterShaped(depth: number, container: object, key: string | number): void {
    this.#within[depth] = container;
    this.path[depth] = key;
  }

  /** Resets the writer after an encoding, successful or not. */
  protected end(): void {
    this.#within.length = 0;
    this.#mark = undefined;
  }

  #use(bytes: Uint8Array<ArrayBuffer>): void {
    if (bytes === this.bytes && bytes.length > 0) return;
    if (this.#scratch.length > MAX_KEPT_BYTES && this.#scratch !== bytes) {
      giveBack(this.#scratch);
      this.#scratch = new Uint8Array(0);
    }
    let view = this.#views.get(bytes);
    if (view === undefined) {
      view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      this.#views.set(bytes, view);
    }
    this.bytes = bytes;
    this.words = view;
  }

  /** Makes room for more bytes. Moves the bytes written so far to the encoder's own memory when the given memory has none left. */
  protected reserve(bytes: number): number {
    const at = this.at;
    const end = at + bytes;
    if (end > this.bound) this.#pass(end);
    this.at = end;
    return at;
  }

  /** The value has outgrown its memory, or has doubled since a part of it was marked. */
  #pass(end: number): void {
    if (end > this.#limit) this.#refuseSize(end);
    if (end > this.bytes.length) this.#grow(end);
    if (end > FIRST_MARK && this.#mark !== MEASURED) this.#mark = this.#within[this.depth - 1];
    this.bound = Math.min(this.bytes.length, Math.max(FIRST_MARK, 2 * end));
  }

  #grow(bytes: number): void {
    const old = this.bytes;
    const outgrown = this.#scratch === old;
    if (this.#scratch.length < bytes || outgrown)
      this.#scratch = new Uint8Array(Math.min(this.#limit, Math.max(4096, 2 * bytes)));
    this.#scratch.set(old.subarray(0, this.at));
    this.#use(this.#scratch);
    if (outgrown) giveBack(old);
  }

  #refuseSize(bytes: number): never {
    const path = pointer(this.path.slice(0, this.depth));
    throw new TooLarge(
      path,
      `more than ${this.#limit} bytes cannot travel; split the value`,
      bytes,
    );
  }

  /** The marked part has come again: as each place has a copy, there may be no end to them. */
  #measure(): void {
    this.#mark = MEASURED;
    const bytes = bytesWithCopies(this.#within[0]);
    if (bytes > this.#limit)
      this.refuse(
        `parts that are in several places travel as copies, and with them the value takes ${bytes} bytes, where ${this.#limit} can travel; send each part once`,
      );
  }

  protected refuse(message: string): never {
    throw new Refusal(pointer(this.path.slice(0, this.depth)), message);
  }

  protected refuseOddity({ key, problem }: Oddity, depth: number): never {
    this.path[depth] = typeof key === "symbol" ? key.toString() : key;
    this.depth = depth + 1;
    this.refuse(problem);
  }

  /** A getter has thrown, or a proxy, or there is no memory. */
  protected unreadable(error: unknown): Refusal {
    const path = pointer(this.path.slice(0, this.depth));
    return new Refusal(path, `cannot be read: ${messageOf(error)}`, error);
  }

  /** Begins a container. Returns its depth. */
  protected enter(value: object): number {
    const depth = this.depth;
    for (let i = 0; i < depth; i++)
      if (this.#within[i] === value) this.refuse("is circular: it contains itself");
    if (value === this.#mark) this.#measure();
    if (depth >= MAX_DEPTH) this.refuse(`is nested more than ${MAX_DEPTH} deep`);
    this.#within[depth] = value;
    this.depth = depth + 1;
    return depth;
  }

  protected byte(byte: number): void {
    const at = this.reserve(1);
    this.bytes[at] = byte;
  }

  protected bytes3(a: number, b: number, c: number): void {
    const at = this.reserve(3);
    const { bytes } = this;
    bytes[at] = a;
    bytes[at + 1] = b;
    bytes[at + 2] = c;
  }

  /** Makes room for so many bytes at `at`. */
  makeRoom(at: number, bytes: number): void {
    this.at = at;
    this.reserve(bytes);
  }

  /** Writes a string for a shape (`shape.ts`). Returns its end, -1 when it cannot travel. */
  writeText(value: string, at: number): number {
    const { length } = value;
    if (length < SHORT_STRING) {
      if (at + 1 + length > this.bound) this.makeRoom(at, 1 + length);
      const { bytes } = this;
      let i = 0;
      for (; i < length; i++) {
        const code = value.charCodeAt(i);
        if (code >= 0x80) break;
        bytes[at + 1 + i] = code;
      }
      if (i === length) {
        bytes[at] = length;
        return at + 1 + length;
      }
    }
    return value.isWellFormed() ? this.#writeLongText(value, at) : -1;
  }

  #writeLongText(value: string, at: number): number {
    // A character takes three bytes at most, for each of its 16-bit units.
    const most = 3 * value.length;
    const room = at + 5 + most <= this.bound ? most : Buffer.byteLength(value);
    const head = room < LONG ? 1 : 5;
    this.makeRoom(at, head + room);
    const written = utf8Write.call(this.bytes, value, at + head, room);
    this.bytes[at] = head === 1 ? written : LONG;
    if (head === 5) this.words.setUint32(at + 1, written, true);
    return at + head + written;
  }

  protected string(value: string): void {
    const { length } = value;
    if (length < SHORT_STRING) {
      const at = this.reserve(1 + length);
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
      this.at = at;
    }
    if (!value.isWellFormed())
      this.refuse("half of a surrogate pair cannot travel in a string; send the bytes");
    // A character takes three bytes at most, for each of its 16-bit units.
    const room = length < LONG_STRING ? 3 * length : Buffer.byteLength(value);
    const at = this.reserve(5 + room);
    const written = utf8Write.call(this.bytes, value, at + 5, room);
    this.bytes[at] = 0xdb;
    this.words.setUint32(at + 1, written);
    this.at = at + 5 + written;
  }

  /** A container's head: `short` with its length when that is below 16, else `long` and 32 bits. */
  protected head(short: number, long: number, length: number): void {
    if (length < 16) return this.byte(short | length);
    const at = this.reserve(5);
    this.bytes[at] = long;
    this.words.setUint32(at + 1, length);
  }

  protected extension(type: number, bytes: Uint8Array): void {
    const at = this.reserve(6 + bytes.length);
    this.bytes[at] = 0xc9;
    this.words.setUint32(at + 1, bytes.length);
    this.bytes[at + 5] = type;
    this.bytes.set(bytes, at + 6);
  }

  /** An extension whose length is not yet known. */
  protected openExtension(type: number): number {
    const at = this.reserve(6);
    this.bytes[at] = 0xc9;
    this.bytes[at + 5] = type;
    return at + 6;
  }

  protected closeExtension(body: number): void {
    this.words.setUint32(body - 5, this.at - body);
  }
}

/** Frees the memory at once: the engine would collect it only later, and a worker's memory is bounded. */
function giveBack({ buffer }: Uint8Array<ArrayBuffer>): void {
  buffer.transfer(0);
}
