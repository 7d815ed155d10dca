/** Frames of MessagePack, which most connections speak: without extensions, so that any language can read it. */
import { Packr } from "msgpackr/pack";
import { FrameCutter, MAX_FRAME_BYTES, type Packing, frameOf } from "./frames/framing.ts";
import { isPlain } from "./frames/plain-message-pack.ts";

export { MAX_FRAME_BYTES, PROTOCOL_VERSION } from "./frames/framing.ts";

const packr = new Packr({ useRecords: false });

export const MESSAGE_PACK: Packing = {
  name: "MessagePack",
  pack: (message) => packr.pack(message),
  unpack(body) {
    if (!isPlain(body)) throw new TypeError("it is not plain MessagePack");
    return packr.unpack(body);
  },
};

/** One message as the bytes of a frame, in memory of its own. */
export const encodeFrame = (message: unknown): Uint8Array => frameOf(message, MESSAGE_PACK);

/** Cuts a byte stream of them into messages. */
export class FrameReader extends FrameCutter {
  /** No frame may be longer than `limitBytes`. */
  constructor(limitBytes = MAX_FRAME_BYTES) {
    super(MESSAGE_PACK, limitBytes);
  }
}
