import { expect, test } from "bun:test";
import fc from "fast-check";
import { ProtocolError } from "../../src/base/errors.ts";
import { FrameReader, encodeFrame } from "../../src/protocol/frame.ts";

/**
 * Not a promise of the format's library: it renames the key `__proto__`, sends -0 as 0, and drops a byte order mark at the
 * start of a long text.
 */
const key = fc.string({ maxLength: 20 }).filter((name) => name !== "__proto__");
const longText = fc
  .string({ unit: "binary", minLength: 60 })
  .filter((words) => !words.startsWith("\ufeff"));
const leaf = fc.oneof(
  fc.string({ unit: "grapheme" }),
  longText,
  fc.maxSafeInteger(),
  fc.double({ noNaN: true }).map((number) => number + 0),
  fc.boolean(),
  fc.constant(null),
  fc.uint8Array({ maxLength: 100 }),
);
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    leaf,
    fc.array(tie("value"), { maxLength: 6 }),
    fc.dictionary(key, tie("value"), { maxKeys: 20, noNullPrototype: true }),
  ),
}));
const message = fc.dictionary(key, value, { maxKeys: 20, noNullPrototype: true });

/** Numbers without order or bound as places to cut a stream. */
function chunksOf(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const cuts = places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b);
  return [...cuts, bytes.length].map((end, i) => bytes.slice(cuts[i - 1] ?? 0, end));
}

test("messages come out as they went in, in order, however the stream is cut", () => {
  fc.assert(
    fc.property(fc.array(message, { maxLength: 8 }), fc.array(fc.nat()), (messages, places) => {
      const stream = Buffer.concat(messages.map(encodeFrame));
      const reader = new FrameReader();
      const read = chunksOf(stream, places).flatMap((chunk) => {
        const complete = reader.push(chunk);
        // A socket uses its buffer again.
        chunk.fill(0xff);
        return complete;
      });
      expect(read).toEqual(messages);
    }),
  );
});

test("a message comes with the chunk that completes it, not later", () => {
  fc.assert(
    fc.property(fc.array(message, { minLength: 1, maxLength: 4 }), fc.nat(), (messages, place) => {
      const frames = messages.map(encodeFrame);
      const stream = Buffer.concat(frames);
      const cut = place % (stream.length + 1);
      let complete = 0;
      for (let end = 0; complete < frames.length; complete++) {
        end += frames[complete]!.length;
        if (end > cut) break;
      }
      expect(new FrameReader().push(stream.subarray(0, cut))).toEqual(messages.slice(0, complete));
    }),
  );
});

test("garbage is read or refused as a protocol error, and never spoils what another reader reads", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), message, (garbage, sound) => {
      const framed = new Uint8Array(4 + garbage.length);
      new DataView(framed.buffer).setUint32(0, garbage.length, true);
      framed.set(garbage, 4);
      for (const bytes of [garbage, framed]) {
        let refusal: unknown;
        try {
          new FrameReader().push(bytes);
        } catch (error) {
          refusal = error;
        }
        if (refusal !== undefined) expect(refusal).toBeInstanceOf(ProtocolError);
      }
      expect(new FrameReader().push(encodeFrame(sound))).toEqual([sound]);
    }),
    { numRuns: 1000 },
  );
});

test("a frame that was damaged in one byte is read or refused as a protocol error", () => {
  fc.assert(
    fc.property(message, fc.nat(), fc.integer({ min: 1, max: 255 }), (sound, place, flipped) => {
      const frame = encodeFrame(sound);
      frame[place % frame.length]! ^= flipped;
      let outcome: unknown;
      try {
        outcome = new FrameReader().push(frame);
      } catch (error) {
        outcome = error;
      }
      expect(outcome instanceof ProtocolError || Array.isArray(outcome)).toBe(true);
    }),
    { numRuns: 1000 },
  );
});
