import { ProtocolError } from "../../../src/base/errors.ts";
import { TELLING_BYTES, beginsTls } from "../../../src/control/accept/first-bytes.ts";
import { MESSAGE_PACK } from "../../../src/protocol/frame.ts";
import { FrameCutter, frameOf } from "../../../src/protocol/frames/framing.ts";
import { JSON_TEXT } from "../../../src/protocol/frames/json-text.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { bytesOf, must, outcome, same } from "./outcome.ts";

const LIMIT = 512;
const messages = [
  { t: "hello", id: 1, list: [1, -2, 1.5, null, true], text: "é".repeat(40) },
  { t: "x" },
  Array.from({ length: 20 }, (_, i) => i),
];
const packings = [MESSAGE_PACK, JSON_TEXT];

const framed = (packing: number, cut: number, ...parts: unknown[]): Uint8Array =>
  Uint8Array.from([
    packing,
    cut,
    ...parts.flatMap((one) => [...frameOf(one, packings[packing & 1]!)]),
  ]);

/** The first byte chooses how messages are written, and whether the bytes are held back at first, the second how they are cut. */
export const subject: Subject = {
  seeds: [
    framed(0, 0, ...messages),
    framed(1, 3, ...messages),
    framed(0, 1, { t: "bytes", bytes: new Uint8Array(9) }),
    framed(4, 5, messages[1]),
    framed(0, 9, {
      map: Array.from({ length: 20 }, () => 7),
      undefined,
      bytes: new Uint8Array(300),
    }),
    Uint8Array.from([0, 9, 13, 0, 0, 0, 0xdf, 0, 0, 0, 1, 0xd9, 1, 97, 0xdd, 0, 0, 0, 1, 0xc0]),
    Uint8Array.from([0, 9, 9, 0, 0, 0, 0xc6, 0, 0, 0, 4, 1, 2, 3, 4]),
    Uint8Array.from([0, 9, 4, 0, 0, 0, 0xd4, 0x65, 0x92, 0xa0]),
    framed(4, 200, "x".repeat(400), "y".repeat(300)),
    Uint8Array.from([0, 0, 0x16, 3, 1, 2, 0]),
    Uint8Array.from([0, 0, 0, 0, 0, 0]),
    Uint8Array.from([0, 0, 255, 255, 255, 255]),
    Uint8Array.from([0, 7, 4, 0, 0, 0, ...bytesOf("text")]),
  ],
  maxBytes: 1024,
  run(input) {
    const [mode = 0, cut = 0] = input;
    const packing = packings[mode & 1]!;
    const stream = input.subarray(2);
    const first = beginsTls(stream.subarray(0, TELLING_BYTES));
    must(first !== undefined || stream.length < TELLING_BYTES, "is not told by its first bytes");
    const whole = outcome(() => new FrameCutter(packing, LIMIT).push(stream), ProtocolError);
    const cutter = new FrameCutter(packing, 1);
    cutter.allow(LIMIT);
    const pieces = outcome(() => {
      const read: unknown[] = [];
      for (let at = 0; at < stream.length; at += 1 + cut) {
        const piece = stream.slice(at, at + 1 + cut);
        if ((mode & 4) !== 0 && at < 640) cutter.hold(piece);
        else read.push(...cutter.push(piece));
        piece.fill(0xff);
      }
      if ((mode & 4) !== 0) read.push(...cutter.push(new Uint8Array(0)));
      return read;
    }, ProtocolError);
    // Cut otherwise, more of it may be read before what is wrong; what is held may be too much.
    if (pieces === undefined) must(whole === undefined || (mode & 4) !== 0, "is refused in pieces");
    if (whole === undefined || pieces === undefined) return;
    same(pieces, whole, "is another message in pieces");
    for (const message of whole) {
      const [again] = new FrameCutter(packing).push(frameOf(message, packing));
      const twice = frameOf(again, packing);
      same(new FrameCutter(packing).push(twice)[0], again, "comes back as another message");
    }
  },
};
