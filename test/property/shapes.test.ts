/** Values that are written by their shape arrive as MessagePack brings them, or are refused in the same words. */
import { describe, expect, test } from "bun:test";
import { type TSchema, Type } from "@sinclair/typebox";
import fc from "fast-check";
import { Decoder } from "../../src/codec/decoder.ts";
import { Encoder } from "../../src/codec/encoder.ts";
import { Refusal } from "../../src/codec/refusal.ts";
import { ShapedDecoder, ShapedEncoder } from "../../src/codec/shaped.ts";
import { typedArray } from "../../src/codec/typed-array.ts";
import { HEAD } from "../../src/codec/wire.ts";
import { describeSchema } from "../../src/schema/description.ts";
import { shapesOf } from "../../src/schema/shapes.ts";
import { difference } from "../support/battery/difference.ts";

const encoder = new Encoder();
const decoder = new Decoder();
const small = new Uint8Array(new ArrayBuffer(24));
const large = new Uint8Array(new ArrayBuffer(64 * 1024));
const LIMIT = 1024 * 1024;

/** A schema, and the values that it describes. */
interface Kind {
  schema: TSchema;
  values: fc.Arbitrary<unknown>;
}

const name = fc.oneof(
  fc.constantFrom("a", "b", "c", "id", "10", "0", "", "it's", "`${x}`", "a\\", "\u2028", "valueOf"),
  fc.string({ unit: "grapheme" }).filter((text) => text !== "__proto__" && text.isWellFormed()),
);
const text = fc.oneof(
  fc.string(),
  fc.string({ unit: "grapheme", maxLength: 120 }).filter((text) => text.isWellFormed()),
  fc.constantFrom("x".repeat(31), "x".repeat(32), "é".repeat(84), "é".repeat(85), "漢".repeat(300)),
);
const anything = fc.oneof(
  fc.constantFrom<unknown>(undefined, null, -0, 5, "x", 7n, new Map([[1, { a: 2 }]]), [1, [2]]),
  fc.float64Array({ maxLength: 5 }),
);

const leaves: Kind[] = [
  { schema: Type.Number(), values: fc.double() },
  { schema: Type.Integer({ minimum: 0 }), values: fc.integer() },
  { schema: Type.String(), values: text },
  { schema: Type.Boolean(), values: fc.boolean() },
  { schema: Type.Null(), values: fc.constant(null) },
  { schema: Type.Undefined(), values: fc.constant(undefined) },
  { schema: Type.Date(), values: fc.date({ noInvalidDate: true }) },
  { schema: Type.Any(), values: anything },
  { schema: Type.BigInt(), values: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }) },
  { schema: typedArray("Float64Array"), values: fc.float64Array({ maxLength: 5 }) },
  { schema: Type.Uint8Array(), values: fc.uint8Array({ maxLength: 9 }) },
  { schema: Type.Literal("only"), values: fc.constant("only") },
  { schema: Type.Literal(0), values: fc.constantFrom(0, -0) },
  {
    schema: Type.Union([Type.Literal("call"), Type.Literal(0), Type.Literal(true), Type.Null()]),
    values: fc.constantFrom<unknown>("call", 0, -0, true, null),
  },
  {
    schema: Type.Union(Array.from({ length: 12 }, (_, i) => Type.Literal(i % 2 ? i : `k${i}`))),
    values: fc.constantFrom<unknown>("k0", 1, "k2", 11, -0),
  },
];

const { kind } = fc.letrec<{ kind: Kind }>((tie) => ({
  kind: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    { weight: 3, arbitrary: fc.constantFrom(...leaves) },
    {
      weight: 3,
      arbitrary: fc
        .uniqueArray(fc.tuple(name, fc.boolean(), tie("kind")), {
          selector: ([name]) => name,
          maxLength: 6,
        })
        .map(objectOf),
    },
    { weight: 1, arbitrary: tie("kind").map(listOf) },
    { weight: 1, arbitrary: fc.array(tie("kind"), { maxLength: 3 }).map(tupleOf) },
    { weight: 1, arbitrary: fc.array(tie("kind"), { minLength: 1, maxLength: 3 }).map(unionOf) },
  ),
}));

function objectOf(properties: [string, boolean, Kind][]): Kind {
  const schema = Type.Object(
    Object.fromEntries(
      properties.map(([name, optional, { schema }]) => [
        name,
        optional ? Type.Optional(schema) : schema,
      ]),
    ),
  );
  const model = Object.fromEntries(properties.map(([name, , { values }]) => [name, values]));
  const requiredKeys = properties.filter(([, optional]) => !optional).map(([name]) => name);
  // In the order of the schema, without a property that may be missing, and without a prototype of fast-check's choice.
  const values = fc
    .record(model, { requiredKeys, noNullPrototype: true })
    .map((object) => Object.fromEntries(Object.entries(object)));
  return { schema, values };
}

function listOf({ schema, values }: Kind): Kind {
  return { schema: Type.Array(schema), values: fc.array(values, { maxLength: 5 }) };
}

function tupleOf(kinds: Kind[]): Kind {
  return {
    schema: Type.Tuple(kinds.map(({ schema }) => schema)),
    values: fc.tuple(...kinds.map(({ values }) => values)),
  };
}

function unionOf(kinds: Kind[]): Kind {
  return {
    schema: Type.Union(kinds.map(({ schema }) => schema)),
    values: fc.oneof(...kinds.map(({ values }) => values)),
  };
}

/** What may be done to a part so that it is not quite what the schema describes. */
const ODDITIES: ((part: any) => unknown)[] = [
  () => undefined,
  () => null,
  () => -0,
  () => NaN,
  () => "\ud800",
  () => "é".repeat(50),
  () => () => 1,
  () => Symbol("s"),
  () => 2n ** 70n,
  () => new Date(NaN),
  () => Object.assign(new Date(5), { own: 1 }),
  () => new (class Odd {})(),
  () => new Map([["a", 1]]),
  () => [1, , 3],
  (part) => [part],
  (part) => ({ a: part }),
  (part) => Object.assign(Array.isArray(part) ? [...part] : [part], { named: 1 }),
  (part) => Object.setPrototypeOf(Array.isArray(part) ? [...part] : { ...part }, null),
  (part) => Object.setPrototypeOf(Array.isArray(part) ? [...part] : new Map(), Object.prototype),
  (part) => Object.fromEntries(Object.entries(isObject(part) ? part : {}).reverse()),
  (part) => ({ ...part, further: 1 }),
  (part) => ({ ...part, ["__proto__"]: 1 }),
  (part) => ({ ...part, [Symbol("s")]: 1 }),
  (part) => Object.defineProperty({ ...part }, "hidden", { value: 1 }),
  (part) => new Proxy(isObject(part) ? part : {}, {}),
  (part) => {
    const whole: Record<string, unknown> = isObject(part) ? { ...part } : {};
    whole[Object.keys(whole)[0] ?? "self"] = whole;
    return whole;
  },
  (part) =>
    withGetter(part, () => {
      throw new Error("not to be read");
    }),
  (part) => withGetter(part, (value) => value),
  (part) => Object.fromEntries(Object.entries(isObject(part) ? part : {}).slice(1)),
];

function isObject(part: unknown): part is Record<string, unknown> {
  return typeof part === "object" && part !== null && !ArrayBuffer.isView(part);
}

function withGetter(part: unknown, get: (value: unknown) => unknown): unknown {
  if (!isObject(part)) return part;
  const copy: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(part))
    Object.defineProperty(copy, key, { get: () => get(value), enumerable: true });
  return copy;
}

/** Does it to the value, or to a part of it that the numbers choose. */
function spoil(
  value: unknown,
  oddity: (part: unknown) => unknown,
  steps: readonly number[],
): unknown {
  const [step, ...rest] = steps;
  if (step === undefined || !isObject(value)) return oddity(value);
  const keys = Object.keys(value);
  if (keys.length === 0) return oddity(value);
  const key = keys[step % keys.length]!;
  const copy: any = Array.isArray(value) ? [...value] : { ...value };
  copy[key] = spoil(copy[key], oddity, rest);
  return copy;
}

const steps = fc.array(fc.nat(7), { maxLength: 3 });
const given = kind.chain(({ schema, values }) =>
  fc.record({
    schema: fc.constant(schema),
    value: fc.oneof(
      values,
      fc
        .tuple(values, fc.constantFrom(...ODDITIES), steps)
        .map(([value, oddity, path]) => spoil(value, oddity, path)),
    ),
  }),
);

interface Way {
  encode(value: unknown, into: Uint8Array<ArrayBuffer>, limit: number): number;
  decode(bytes: Uint8Array<ArrayBuffer>, length: number, copies: boolean): unknown;
}

const messagePack: Way = {
  encode: (value, into, limit) => encoder.encode(value, into, limit),
  decode: (bytes, length, copies) => decoder.decode(bytes, length, copies),
};

function shaped(schema: TSchema): Way {
  const { input } = shapesOf({ input: describeSchema(schema), output: null });
  const [writes, reads] = [
    new ShapedEncoder(encoder, input, true),
    new ShapedDecoder(decoder, input),
  ];
  return {
    encode: (value, into, limit) => writes.encode(value, into, limit),
    decode: (bytes, length, copies) => reads.decode(bytes, length, copies),
  };
}

/** The value as it arrives, or why it is refused. */
function sent(
  way: Way,
  value: unknown,
  into: Uint8Array<ArrayBuffer>,
  copies: boolean,
): { value: unknown; isShaped: boolean } | { path: string; message: string; cause: unknown } {
  let length: number;
  try {
    length = way.encode(value, into, LIMIT);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { path: error.path, message: error.message, cause: error.cause };
  }
  // The encoder's own memory is used again by the next value.
  const bytes = encoder.bytes.slice(0, length);
  const isShaped = bytes[0] === 0xc1 && (bytes[1]! & HEAD.shaped) !== 0;
  return { value: way.decode(bytes, length, copies), isShaped };
}

test("a value arrives as MessagePack brings it, or is refused in the same words", () => {
  let [byShape, refused, otherwise] = [0, 0, 0];
  fc.assert(
    fc.property(given, fc.constantFrom(small, large), fc.boolean(), (of, into, copies) => {
      const expected = sent(messagePack, of.value, into, copies);
      const found = sent(shaped(of.schema), of.value, into, copies);
      if (!("value" in expected) || !("value" in found)) {
        expect(found).toEqual(expected);
        refused++;
        return;
      }
      expect(difference(expected.value, found.value)).toBeUndefined();
      if (found.isShaped) byShape++;
      else otherwise++;
    }),
    { numRuns: 5000 },
  );
  // Each way is gone often enough to say something.
  expect(Math.min(byShape, refused, otherwise)).toBeGreaterThan(300);
});

/** A value by its shape; undefined when it is refused, or not of it. */
function shapedBytes(way: Way, value: unknown): Uint8Array<ArrayBuffer> | undefined {
  try {
    const bytes = large.slice(0, way.encode(value, large, LIMIT));
    return (bytes[1]! & HEAD.shaped) === 0 ? undefined : bytes;
  } catch {
    return undefined;
  }
}

/** Shapes without parts of MessagePack, whose values may be such as no encoder writes. */
const known = given.filter(({ schema }) => {
  const shape = shapesOf({ input: describeSchema(schema), output: null }).input;
  return shape !== undefined && !JSON.stringify(shape).includes('"any"');
});

function isRefusalOrOfShape(way: Way, bytes: Uint8Array<ArrayBuffer>): void {
  let value: unknown;
  try {
    value = way.decode(bytes, bytes.length, true);
  } catch (error) {
    expect(error).toBeInstanceOf(Refusal);
    return;
  }
  // What a reader makes of any bytes can be written again, by its shape.
  const length = way.encode(value, large, LIMIT);
  expect(large[1]! & HEAD.shaped).toBe(HEAD.shaped);
  expect(difference(value, way.decode(large.slice(0, length), length, true))).toBeUndefined();
}

describe("bytes that no encoder has written are a value of the shape or are refused", () => {
  test("with some of them changed", () => {
    const change = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(known, change, ({ schema, value }, changes) => {
        const way = shaped(schema);
        const bytes = shapedBytes(way, value);
        if (bytes === undefined || bytes.length === 2) return;
        for (const [at, byte] of changes) bytes[2 + (at % (bytes.length - 2))] = byte;
        isRefusalOrOfShape(way, bytes);
      }),
      { numRuns: 3000 },
    );
  });

  test("cut short, longer, or of any content", () => {
    fc.assert(
      fc.property(
        known,
        fc.uint8Array({ maxLength: 60 }),
        fc.nat(),
        ({ schema, value }, any, cut) => {
          const way = shaped(schema);
          isRefusalOrOfShape(way, new Uint8Array([0xc1, HEAD.shaped, ...any]));
          const bytes = shapedBytes(way, value);
          if (bytes === undefined) return;
          isRefusalOrOfShape(way, bytes.slice(0, cut % bytes.length));
          const longer = new Uint8Array([...bytes, 0]);
          expect(() => way.decode(longer, longer.length, true)).toThrow(Refusal);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("with a length of billions of items, at once and without memory for them", () => {
    for (const items of [Type.Number(), Type.String(), Type.Null(), Type.Tuple([])]) {
      const way = shaped(Type.Array(items));
      const bytes = new Uint8Array([0xc1, HEAD.shaped, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
      expect(() => way.decode(bytes, bytes.length, true)).toThrow(Refusal);
    }
  });
});
