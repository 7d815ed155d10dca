import { type TSchema, Type } from "@sinclair/typebox";
import { Decoder } from "../../../src/codec/decoder.ts";
import { Encoder } from "../../../src/codec/encoder.ts";
import { Refusal } from "../../../src/codec/refusal.ts";
import { ShapedDecoder, ShapedEncoder, hasHead, readsShaped } from "../../../src/codec/shaped.ts";
import { describeSchema } from "../../../src/schema/description.ts";
import { shapesOf } from "../../../src/schema/shapes.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { outcome, same } from "./outcome.ts";

const encoder = new Encoder();
const [decoder, again] = [new Decoder(), new Decoder()];
const room = new Uint8Array(new ArrayBuffer(64 * 1024));
const LIMIT = 1024 * 1024;

const point = Type.Object({ x: Type.Number(), y: Type.Optional(Type.String()), at: Type.Date() });
const manyChoices = Type.Union(
  Array.from({ length: 12 }, (_, i) => Type.Literal(i % 2 ? i : `k${i}`)),
);
const kinds: { schema: TSchema; values: unknown[] }[] = [
  {
    schema: Type.Object({
      id: Type.Integer(),
      name: Type.String(),
      points: Type.Array(point),
      flag: Type.Boolean(),
    }),
    values: [
      { id: 1, name: "n", points: [{ x: 0.5, at: new Date(0) }], flag: true },
      { id: 1, name: "x".repeat(300), points: [{ x: -0, y: "é", at: new Date(5) }], flag: false },
      { name: "out of order", id: 1, points: [], flag: false },
      { id: 1, name: "more", points: [], flag: false, more: 1 },
    ],
  },
  {
    schema: Type.Tuple([manyChoices, Type.Literal("only"), Type.Any(), Type.Undefined()]),
    values: [
      ["k0", "only", new Map([[1, 2]]), undefined],
      [11, "only", 5n, undefined],
      [11, "other", 5n, undefined],
    ],
  },
  {
    schema: Type.Union([
      Type.Literal(0),
      Type.Null(),
      Type.Array(Type.String()),
      Type.Object({ only: Type.Number() }),
    ]),
    values: [0, -0, null, ["a", "b"], { only: 1 }, 7, { only: "text" }, [1]],
  },
  {
    schema: Type.Object({
      a: Type.Optional(Type.Union([Type.Literal("x"), Type.Literal("y")])),
      b: Type.Tuple([Type.Number(), Type.Array(Type.Array(Type.Boolean()))]),
      c: Type.Optional(Type.Any()),
      d: Type.Optional(Type.Undefined()),
    }),
    values: [
      { a: "x", b: [1, [[true], []]], c: { free: 1 } },
      { b: [1, []], d: undefined },
      { b: [1, []], c: new Float64Array([1]) },
    ],
  },
  { schema: Type.Any(), values: [{ no: "shape" }] },
];

const sides = kinds.map(({ schema, values }) => {
  const description = describeSchema(schema);
  const shape = shapesOf({ input: description, output: null }).input;
  return {
    values,
    encoder: new ShapedEncoder(encoder, shape, true),
    answering: new ShapedEncoder(encoder, shape, false),
    decoder: new ShapedDecoder(decoder, shape),
    again: new ShapedDecoder(again, shape),
  };
});

/** The first byte says which shape it is. */
export const subject: Subject = {
  seeds: sides.flatMap(({ values, encoder }, i) =>
    values.map((value) => {
      const length = encoder.encode(value, room, LIMIT);
      return Uint8Array.from([i, ...encoder.bytes.subarray(0, length)]);
    }),
  ),
  run(input) {
    if (input.length === 0) return;
    const side = sides[input[0]! % sides.length]!;
    const bytes = input.slice(1);
    if (hasHead(bytes)) readsShaped(bytes);
    outcome(() => side.decoder.decode(bytes, bytes.length + 1, true), Refusal);
    const value = outcome(() => ({ is: side.decoder.decode(bytes, bytes.length, true) }), Refusal);
    const lent = outcome(() => ({ is: side.again.decode(bytes, bytes.length, false) }), Refusal);
    if (!value || !lent) return same(value, lent, "a copy is read otherwise");
    for (const writer of [side.encoder, side.answering]) {
      const length = writer.encode(value.is, room, LIMIT);
      const written = writer.bytes.slice(0, length);
      same(side.again.decode(written, length, true), value.is, "it comes back as another value");
    }
  },
};
