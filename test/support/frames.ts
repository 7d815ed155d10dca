/** A value on its way through the control connection. */
import { FrameReader, encodeFrame } from "../../src/protocol/frame.ts";

export const encodeFrameOf = (value: unknown): Uint8Array => encodeFrame({ value });

export function decodeFrame(frame: Uint8Array): unknown {
  const [message] = new FrameReader().push(frame);
  return (message as { value: unknown }).value;
}
