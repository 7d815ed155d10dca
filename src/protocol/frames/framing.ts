/**
 * Control frames on a byte stream: a 32-bit little-endian length, then one message of that many bytes. How a message becomes bytes is
 * the connection's choice.
 */
import { ProtocolError } from "../../base/errors.ts";

/** How messages are written in frames. */
export interface Packing {
  /** What it is, in errors. */
  readonly name: string;
  pack(message: unknown): Uint8Array;
  /** Throws on anything else. What it returns may look at `body`. */
  unpack(body: Uint8Array): unknown;
}

/** Raised when a message of clients, nodes or hosts changes in a way that an older peer would misread. */
export const PROTOCOL_VERSION = 8;

/** A frame is a few hundred bytes; an error record or a long list of functions may be more. */
export const MAX_FRAME_BYTES = 4 * 1024 * 1024;
const PREFIX_BYTES = 4;

/** One message as the bytes of a frame, in memory of its own. */
export function frameOf(message: unknown, packing: Packing): Uint8Array {
  const body = packing.pack(message);
  const frame = new Uint8Array(PREFIX_BYTES + body.length);
  new DataView(frame.buffer).setUint32(0, body.length, true);
  frame.set(body, PREFIX_BYTES);
  return frame;
}

/** Memory for the beginning of a frame; grows with the bytes that have come, not with the length that the peer has declared. */
const FIRST_KEPT_BYTES = 64;

/** Cuts a byte stream into messages, however the bytes arrive. */
export class FrameCutter {
  readonly #packing: Packing;
  #limitBytes: number;
  /** Where a frame waits for its end; undefined when none does. */
  #kept: Uint8Array | undefined;
  #keptBytes = 0;

  /** No frame may be longer than `limitBytes`. */
  constructor(packing: Packing, limitBytes = MAX_FRAME_BYTES) {
    this.#packing = packing;
    this.#limitBytes = limitBytes;
  }

  /** From the next frame on, they may be so long. */
  allow(limitBytes: number): void {
    this.#limitBytes = limitBytes;
  }

  /** Keeps `bytes` for the next {@link read}. Throws {@link ProtocolError} when more wait than one frame may have. */
  hold(bytes: Uint8Array): void {
    this.#keep(this.#keptBytes > 0 ? this.#append(bytes) : bytes);
    if (this.#keptBytes > this.#limitBytes)
      throw new ProtocolError(
        `the peer has sent ${this.#keptBytes} bytes before its last message was answered; update it`,
      );
  }

  /** As {@link read}, all at once. */
  push(bytes: Uint8Array): unknown[] {
    return [...this.read(bytes)];
  }

  /**
   * The messages completed by `bytes`, each read when it is asked for. Throws {@link ProtocolError} on a frame that is too long or no
   * message.
   */
  *read(bytes: Uint8Array): Generator<unknown, void, void> {
    const stream = this.#keptBytes > 0 ? this.#append(bytes) : bytes;
    let start = 0;
    try {
      for (;;) {
        const end = start + PREFIX_BYTES + this.#lengthAt(stream, start);
        if (!(end <= stream.length)) return;
        // A copy: the socket may use its buffer again, and binary fields are views of what they are read from.
        const body = new Uint8Array(stream.subarray(start + PREFIX_BYTES, end));
        start = end;
        yield this.#unpack(body);
      }
    } finally {
      this.#keep(stream.subarray(start));
    }
  }

  /** Of the frame that begins there; NaN when it cannot be known yet. */
  #lengthAt(stream: Uint8Array, start: number): number {
    if (stream.length - start < PREFIX_BYTES) return NaN;
    const length = new DataView(stream.buffer, stream.byteOffset + start).getUint32(0, true);
    if (length === 0 || length > this.#limitBytes)
      throw new ProtocolError(
        `a control frame of ${length} bytes is not allowed: the peer is no rfaas, or one of another version`,
      );
    return length;
  }

  /** The kept bytes and the new ones, together. */
  #append(bytes: Uint8Array): Uint8Array {
    const length = this.#keptBytes + bytes.length;
    this.#reserve(length);
    this.#kept!.set(bytes, this.#keptBytes);
    return this.#kept!.subarray(0, length);
  }

  #keep(rest: Uint8Array): void {
    this.#keptBytes = rest.length;
    if (rest.length === 0) this.#kept = undefined;
    else if (rest.buffer !== this.#kept?.buffer || rest.byteOffset > 0) {
      this.#kept = undefined;
      this.#reserve(rest.length);
      this.#kept!.set(rest);
    }
  }

  #reserve(bytes: number): void {
    const old = this.#kept;
    if (old && old.length >= bytes) return;
    this.#kept = new Uint8Array(Math.max(bytes, FIRST_KEPT_BYTES, 2 * (old?.length ?? 0)));
    if (old) this.#kept.set(old);
  }

  #unpack(body: Uint8Array): unknown {
    try {
      return this.#packing.unpack(body);
    } catch (cause) {
      throw new ProtocolError(
        `a control frame is not ${this.#packing.name}: the peer is no rfaas, or one of another version`,
        { cause },
      );
    }
  }
}
