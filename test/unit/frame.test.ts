import { describe, expect, test } from "bun:test";
import { ProtocolError } from "../../src/base/errors.ts";
import { FrameReader, MAX_FRAME_BYTES, encodeFrame } from "../../src/protocol/frame.ts";
import { FrameCutter, frameOf as framed } from "../../src/protocol/frames/framing.ts";
import { JSON_TEXT } from "../../src/protocol/frames/json-text.ts";

const MESSAGE = {
  t: "allocate-reply",
  lease: 7,
  nonce: new Uint8Array([1, 2, 3]),
  cpus: [3, -1],
  loadNs: 0.5,
  note: "naïve ✓",
  nothing: null,
};

function frameOf(body: Iterable<number>): Uint8Array {
  const bytes = Uint8Array.from(body);
  const frame = new Uint8Array(4 + bytes.length);
  new DataView(frame.buffer).setUint32(0, bytes.length, true);
  frame.set(bytes, 4);
  return frame;
}

function prefix(length: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, length, true);
  return bytes;
}

const read = (bytes: Uint8Array): unknown[] => new FrameReader().push(bytes);

describe("encodeFrame", () => {
  test("writes the body's length, little-endian, then the body", () => {
    expect([...encodeFrame("hi")]).toEqual([3, 0, 0, 0, 0xa2, 0x68, 0x69]);
    expect([...encodeFrame("x".repeat(300)).subarray(0, 4)]).toEqual([303 - 256, 1, 0, 0]);
  });

  test("writes objects as maps, which every MessagePack library reads", () => {
    const firstOfMap16 = 0xde;
    expect(encodeFrame(MESSAGE)[4]).toBe(firstOfMap16);
  });

  test("returns memory of its own, which a later frame does not change", () => {
    const first = encodeFrame(MESSAGE);
    const copy = first.slice();
    encodeFrame({ t: "release-reply", id: 1 });
    expect(first).toEqual(copy);
    expect(first.byteLength).toBe(first.buffer.byteLength);
  });
});

describe("FrameReader", () => {
  test("returns the message of a whole frame", () => {
    expect(read(encodeFrame(MESSAGE))).toEqual([MESSAGE]);
  });

  test("returns nothing for no bytes", () => {
    expect(read(new Uint8Array(0))).toEqual([]);
  });

  test("returns the message once, wherever its frame is cut in two", () => {
    const frame = encodeFrame(MESSAGE);
    for (let cut = 0; cut <= frame.length; cut++) {
      const reader = new FrameReader();
      const messages = [frame.subarray(0, cut), frame.subarray(cut)].map((part) =>
        reader.push(part),
      );
      expect(messages).toEqual(cut === frame.length ? [[MESSAGE], []] : [[], [MESSAGE]]);
    }
  });

  test("returns the message with the last byte when bytes come one at a time", () => {
    const reader = new FrameReader();
    const answers = [...encodeFrame(MESSAGE)].map((byte) => reader.push(Uint8Array.of(byte)));
    expect(answers.pop()).toEqual([MESSAGE]);
    expect(answers.flat()).toEqual([]);
  });

  test("returns several messages that came together, in order, and keeps the unfinished one", () => {
    const frames = [1, 2, 3].map((id) => encodeFrame({ t: "get-status", id }));
    const stream = Buffer.concat(frames);
    const reader = new FrameReader();
    const first = reader.push(stream.subarray(0, stream.length - 1));
    expect(first).toEqual([
      { t: "get-status", id: 1 },
      { t: "get-status", id: 2 },
    ]);
    expect(reader.push(stream.subarray(stream.length - 1))).toEqual([{ t: "get-status", id: 3 }]);
  });

  test("returns binary fields that do not change with the socket's buffer", () => {
    const buffer = encodeFrame(MESSAGE);
    const [message] = read(buffer);
    buffer.fill(0xff);
    expect(message).toEqual(MESSAGE);
  });

  test("reads a frame of the greatest length", () => {
    const text = "x".repeat(MAX_FRAME_BYTES - 5);
    const frame = encodeFrame(text);
    expect(frame.length).toBe(4 + MAX_FRAME_BYTES);
    expect(read(frame)).toEqual([text]);
  });

  test.each([MAX_FRAME_BYTES + 1, 0xffff_ffff, 0])(
    "refuses a frame of %p bytes from its prefix alone",
    (length) => {
      expect(() => read(prefix(length))).toThrow(ProtocolError);
      expect(() => read(prefix(length))).toThrow(`a control frame of ${length} bytes`);
    },
  );

  test("refuses a frame that is too long behind a sound one", () => {
    const bytes = Buffer.concat([encodeFrame(MESSAGE), prefix(MAX_FRAME_BYTES + 1)]);
    expect(() => read(bytes)).toThrow(ProtocolError);
  });

  test.each<[string, number[]]>([
    ["a text that ends early", [0xa5, 0x61]],
    ["a map that ends early", [0x82, 0xa1, 0x74]],
    ["a second value behind the first", [0x01, 0x02]],
    ["an extension that ends early", [0xd7, 0x62]],
    ["arrays nested without end", new Array<number>(200_000).fill(0x91)],
  ])("refuses a frame of %s and says why", (_, body) => {
    expect(() => read(frameOf(body))).toThrow(ProtocolError);
    expect(() => read(frameOf(body))).toThrow("is not MessagePack");
  });

  test("refuses another protocol's greeting", () => {
    expect(() => read(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"))).toThrow(ProtocolError);
  });
});

describe("a frame of MessagePack", () => {
  test("has undefined as a property, of its extensions alone", () => {
    expect(read(encodeFrame({ a: undefined }))).toEqual([{ a: undefined }]);
  });

  test.each<[string, number[]]>([
    ["an error", [0xd4, 0x65, 0x92, 0xa5, ...Buffer.from("Error"), 0xa1, 0x6d]],
    ["an expression", [0xd4, 0x78, 0x92, 0xa1, 0x61, 0xa0]],
    ["a set", [0xd4, 0x73, 0x90]],
    ["a record of the sender's own", [0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61, 1]],
    ["a record with a number of two bytes", [0xd5, 0x72, 0x41, 1, 0x91, 0xa1, 0x61, 1]],
    ["texts in a bundle", [0xc7, 4, 0x62, 0, 0, 0, 1, 1]],
    ["a date", [0xd6, 0xff, 0, 0, 0, 1]],
    ["bytes behind its value", [1, 1]],
    ["a list of more than it has", [0xdd, 0xff, 0xff, 0xff, 0xff, 1]],
  ])("is refused with %s in it", (_, body) => {
    expect(() => read(frameOf(body))).toThrow(ProtocolError);
  });
});

describe("a frame of JSON", () => {
  const cut = (bytes: Uint8Array): unknown[] => new FrameCutter(JSON_TEXT).push(bytes);

  test("is a length and a text, and is read as it was written", () => {
    expect([...framed("hi", JSON_TEXT)]).toEqual([4, 0, 0, 0, 0x22, 0x68, 0x69, 0x22]);
    const message = { t: "host-log", line: { message: "\ud800 ä 漢", data: null, atMs: 1.5 } };
    expect(cut(framed(message, JSON_TEXT))).toEqual([message]);
  });

  test("has no prototype of its sender's choice", () => {
    const [message] = cut(frameOf([...Buffer.from('{"__proto__":{"t":"ready"}}')]));
    expect((message as { t?: string }).t).toBeUndefined();
  });

  test.each<[string, string]>([
    ["a text that ends early", '{"t":"re'],
    ["a second value behind the first", "1 2"],
    ["nothing but space", "  "],
    ["arrays nested without end", "[".repeat(2_000_000)],
  ])("refuses a frame of %s and says why", (_, body) => {
    const frame = frameOf([...Buffer.from(body)]);
    expect(() => cut(frame)).toThrow(ProtocolError);
    expect(() => cut(frame)).toThrow("is not JSON");
  });
});
