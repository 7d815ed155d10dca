/** Makes an input from others by a few random changes, as AFL's havoc stage does. */
import type { Random } from "./random.ts";

const BYTES = [0, 1, 0x7f, 0x80, 0xff, 0x20, 0x2e, 0x22, 0x5c, 0x0a, 0x30, 0x39];
const WORDS = [0, 1, 7, 8, 64, 512, 4096, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];
/** A further change is made with this chance, of 8. */
const MORE = 5;

export class Mutator {
  readonly #random: Random;
  readonly #tokens: readonly Uint8Array[];
  /** The input that is being made, */
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** and how long it is. */
  #length = 0;

  /** `tokens` are texts that the parser looks for. */
  constructor(random: Random, maxBytes: number, tokens: readonly Uint8Array[]) {
    this.#random = random;
    this.#tokens = tokens;
    this.#bytes = new Uint8Array(maxBytes);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** A new input from `base`, and maybe from a part of `other`. */
  mutate(base: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
    const start = base.length > this.#bytes.length ? base.subarray(0, this.#bytes.length) : base;
    this.#bytes.set(start);
    this.#length = start.length;
    do this.#change(other);
    while (this.#random.below(8) < MORE);
    return new Uint8Array(this.#bytes.subarray(0, this.#length));
  }

  #change(other: Uint8Array): void {
    const random = this.#random;
    const bytes = this.#bytes;
    if (this.#length === 0) return this.#insert(0, this.#someToken());
    const at = random.below(this.#length);
    switch (random.below(12)) {
      case 0:
        bytes[at]! ^= 1 << random.below(8);
        return;
      case 1:
        bytes[at] = BYTES[random.below(BYTES.length)]!;
        return;
      case 2:
        bytes[at] = random.below(256);
        return;
      case 3:
        bytes[at]! += random.below(2) === 0 ? 1 + random.below(8) : -1 - random.below(8);
        return;
      case 4:
        return this.#setWord(at);
      case 5:
        return this.#remove(at, 1 + random.below(Math.min(this.#length - at, 16)));
      case 6:
        return this.#remove(at, 1 + random.below(this.#length - at));
      case 7:
        return this.#insert(at, this.#someToken());
      case 8:
        return this.#overwrite(at, this.#someToken());
      case 9: {
        const from = random.below(this.#length);
        const length = 1 + random.below(Math.min(this.#length - from, 64));
        return this.#insert(at, bytes.slice(from, from + length));
      }
      case 10: {
        if (other.length === 0) return;
        const from = random.below(other.length);
        const length = 1 + random.below(Math.min(other.length - from, 128));
        const part = other.subarray(from, from + length);
        return random.below(2) === 0 ? this.#insert(at, part) : this.#overwrite(at, part);
      }
      default:
        return this.#setDigits(at);
    }
  }

  #setWord(at: number): void {
    const random = this.#random;
    const size = [2, 4, 8][random.below(3)]!;
    if (at + size > this.#length) return;
    const value =
      random.below(3) === 0 ? this.#length - random.below(16) : WORDS[random.below(WORDS.length)]!;
    const little = random.below(4) > 0;
    if (size === 2) this.#view.setUint16(at, value, little);
    else if (size === 4) this.#view.setUint32(at, value, little);
    else this.#view.setBigUint64(at, BigInt(random.below(8) === 0 ? -1 : value), little);
  }

  /** A number as text becomes another one. */
  #setDigits(at: number): void {
    const isDigit = (byte: number | undefined) => byte !== undefined && byte >= 0x30 && byte < 0x3a;
    if (!isDigit(this.#bytes[at])) return;
    let end = at;
    while (end < this.#length && isDigit(this.#bytes[end])) end++;
    this.#remove(at, end - at);
    const value = WORDS[this.#random.below(WORDS.length)]! + this.#random.below(3);
    this.#insert(at, new TextEncoder().encode(String(value)));
  }

  #someToken(): Uint8Array {
    const random = this.#random;
    if (this.#tokens.length > 0 && random.below(4) > 0)
      return this.#tokens[random.below(this.#tokens.length)]!;
    return new Uint8Array(1 + random.below(8)).fill(random.below(256));
  }

  #remove(at: number, length: number): void {
    this.#bytes.copyWithin(at, at + length, this.#length);
    this.#length -= length;
  }

  #insert(at: number, part: Uint8Array): void {
    const length = Math.min(part.length, this.#bytes.length - this.#length);
    this.#bytes.copyWithin(at + length, at, this.#length);
    this.#bytes.set(part.subarray(0, length), at);
    this.#length += length;
  }

  #overwrite(at: number, part: Uint8Array): void {
    const length = Math.min(part.length, this.#length - at);
    this.#bytes.set(part.subarray(0, length), at);
  }
}
