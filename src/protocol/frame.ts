/**
 * Control frames on a byte stream: a 32-bit little-endian length, then that many bytes of MessagePack.
 *
 * MessagePack without record extensions, so that any language can read it.
 */
import { Packr } from "msgpackr/pack";
import { ProtocolError } from "../errors.ts";

/** A frame is a few hundred bytes; an error record or a long list of functions may be more. */
export const MAX_FRAME_BYTES = 4 * 1024 * 1024;
const PREFIX_BYTES = 4;

const packr = new Packr({ useRecords: false });

/** One message as the bytes of a frame, in memory of its own. */
export function encodeFrame(message: unknown): Uint8Array {
  const body = packr.pack(message);
  const frame = new Uint8Array(PREFIX_BYTES + body.length);
  new DataView(frame.buffer).setUint32(0, body.length, true);
  frame.set(body, PREFIX_BYTES);
  return frame;
}

/** Cuts a byte stream into messages, however the bytes arrive. */
export class FrameReader {
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  /** Bytes that must have come before it is worth looking again. */
  #needed = PREFIX_BYTES;

  /** The messages completed by `bytes`. Throws {@link ProtocolError} on a frame that is too long or no MessagePack. */
  push(bytes: Uint8Array): unknown[] {
    // A copy: the socket may use its buffer again.
    this.#chunks.push(new Uint8Array(bytes));
    this.#bytes += bytes.length;
    if (this.#bytes < this.#needed) return [];

    const joined = Buffer.concat(this.#chunks);
    const messages: unknown[] = [];
    let start = 0;
    this.#needed = PREFIX_BYTES;
    while (joined.length - start >= PREFIX_BYTES) {
      const length = joined.readUInt32LE(start);
      if (length === 0 || length > MAX_FRAME_BYTES)
        throw new ProtocolError(
          `a control frame of ${length} bytes is not allowed; is the peer an rfaas of this version?`,
        );
      const end = start + PREFIX_BYTES + length;
      if (joined.length < end) {
        this.#needed = end - start;
        break;
      }
      // Another copy: binary fields of the message are views of what they are read from.
      messages.push(unpack(new Uint8Array(joined.subarray(start + PREFIX_BYTES, end))));
      start = end;
    }
    this.#chunks = start < joined.length ? [joined.subarray(start)] : [];
    this.#bytes = joined.length - start;
    return messages;
  }
}

function unpack(body: Uint8Array): unknown {
  try {
    return packr.unpack(body);
  } catch (cause) {
    throw new ProtocolError(
      "a control frame is not MessagePack; is the peer an rfaas of this version?",
      { cause },
    );
  }
}
