import { Decoder } from "../../../src/codec/decoder.ts";
import { Encoder } from "../../../src/codec/encoder.ts";
import { Refusal } from "../../../src/codec/refusal.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { must, outcome, same } from "./outcome.ts";

const encoder = new Encoder();
const [decoder, second] = [new Decoder(), new Decoder()];
const room = new Uint8Array(new ArrayBuffer(64 * 1024));
const LIMIT = 1024 * 1024;

const values: unknown[] = [
  [0, 127, 128, 255, 256, 65536, 2 ** 32, -1, -32, -33, -129, -32769, -(2 ** 31) - 1, 1.5, -0],
  { a: null, b: undefined, c: true, long: "x".repeat(300), é: "漢字".repeat(20), 7: [] },
  new Map<unknown, unknown>([
    [1, { a: 2 }],
    ["k", new Set([1, "2"])],
  ]),
  new Date(0),
  new Date(1.5e12),
  new Date(-1),
  [1n, -1n, 2n ** 63n, 2n ** 64n - 1n],
  new Uint8Array([1, 2, 3]),
  [new Float64Array([1, 2]), new Int16Array([3]), new ArrayBuffer(3), Buffer.from("buffer")],
  Array.from({ length: 20 }, (_, i) => ({ i })),
];

/** Forms of MessagePack that our encoder does not write. */
const foreign = [
  [0xdc, 0, 1, 0xca, 0x3f, 0xc0, 0, 0],
  [0xde, 0, 1, 0xda, 0, 1, 97, 0xcd, 1, 0],
  [0xdf, 0, 0, 0, 1, 0xd9, 1, 97, 0xd0, 0x80],
  [0xc5, 0, 1, 7],
  [0xc6, 0, 0, 0, 1, 7],
  [0xd6, 0xff, 0, 0, 0, 1],
  [0xd7, 0xff, 0, 0, 0, 1, 0, 0, 0, 1],
  [0xc8, 0, 1, 0, 0],
  [0xd4, 0, 0],
  [0xc7, 12, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1],
  [0x81, 0xa9, ...Buffer.from("__proto__"), 1],
  [0x82, 0xa1, 97, 1, 0xa1, 97, 2],
];

export const subject: Subject = {
  seeds: [
    ...values.map((value) => {
      const length = encoder.encode(value, room, LIMIT);
      return encoder.bytes.slice(0, length);
    }),
    ...foreign.map((bytes) => new Uint8Array(bytes)),
  ],
  run(input) {
    // A length beyond the memory is a lie.
    must(
      outcome(() => decoder.decode(input, input.length + 1, true), Refusal) === undefined,
      "reads on",
    );
    const value = outcome(() => ({ is: decoder.decode(input, input.length, false) }), Refusal);
    const copy = outcome(() => ({ is: second.decode(input, input.length, true) }), Refusal);
    if (!value || !copy) return same(value, copy, "a copy is read otherwise");
    // Further properties of a list or of bytes cannot come of bytes, so what was read can always be written.
    const length = encoder.encode(value.is, room, LIMIT);
    const written = encoder.bytes.slice(0, length);
    same(decoder.decode(written, length, true), copy.is, "it comes back as another value");
  },
};
