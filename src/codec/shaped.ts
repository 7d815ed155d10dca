/** Values for a side that knows their shape, and from one: written by it where they are of it, else as MessagePack. */
import type { Decoder } from "./decoder.ts";
import type { Encoder } from "./encoder.ts";
import { type ReadShape, compileReader } from "./read-shape.ts";
import type { Shape } from "./shape.ts";
import { HEAD, HEAD_BYTES, MARK } from "./wire.ts";
import { type WriteShape, compileWriter } from "./write-shape.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export class ShapedEncoder {
  readonly #encoder: Encoder;
  readonly #shape: Shape | undefined;
  /** Of a value of MessagePack; 0 for none. */
  readonly #head: number;
  #write: WriteShape | undefined;

  /** `readsShaped` says whether the sender reads the result by its shape. */
  constructor(encoder: Encoder, shape: Shape | undefined, readsShaped: boolean) {
    this.#encoder = encoder;
    this.#shape = shape;
    this.#head = readsShaped ? HEAD.readsShaped : 0;
  }

  get bytes(): Bytes {
    return this.#encoder.bytes;
  }

  /** As {@link Encoder.encode}. */
  encode(value: unknown, into: Bytes, limit: number): number {
    const encoder = this.#encoder;
    const head = this.#head;
    if (this.#shape !== undefined) {
      const write = (this.#write ??= compileWriter(this.#shape));
      const length = encoder.encodeShaped(write, value, into, limit, head | HEAD.shaped);
      if (length >= 0) return length;
    }
    return encoder.encode(value, into, limit, head);
  }
}

export class ShapedDecoder {
  readonly #decoder: Decoder;
  readonly #shape: Shape | undefined;
  #read: ReadShape | undefined;

  constructor(decoder: Decoder, shape: Shape | undefined) {
    this.#decoder = decoder;
    this.#shape = shape;
  }

  /** As {@link Decoder.decode}. */
  decode(bytes: Bytes, length: number, copies: boolean): unknown {
    const decoder = this.#decoder;
    if (bytes[0] !== MARK || length < HEAD_BYTES) return decoder.decode(bytes, length, copies);
    if ((bytes[1]! & HEAD.shaped) === 0) return decoder.decode(bytes, length, copies, HEAD_BYTES);
    if (this.#shape === undefined) return decoder.damaged();
    const read = (this.#read ??= compileReader(this.#shape));
    return decoder.decodeShaped(read, bytes, length, copies, HEAD_BYTES);
  }
}

export function hasHead(bytes: Bytes): boolean {
  return bytes.length >= HEAD_BYTES && bytes[0] === MARK;
}

/** Whether the sender of a value with a head reads its result by the shape. */
export function readsShaped(bytes: Bytes): boolean {
  return (bytes[1]! & HEAD.readsShaped) !== 0;
}
