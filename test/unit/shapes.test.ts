/** Functions on values whose caller and worker know the same shapes, and those that do not. */
import { describe, expect, test } from "bun:test";
import { type TSchema, Type } from "@sinclair/typebox";
import { InvalidValue } from "../../src/base/errors.ts";
import { Decoder } from "../../src/codec/decoder.ts";
import { Encoder } from "../../src/codec/encoder.ts";
import { Refusal } from "../../src/codec/refusal.ts";
import { ShapedDecoder, ShapedEncoder } from "../../src/codec/shaped.ts";
import { HEAD, MARK } from "../../src/codec/wire.ts";
import { defineFunction } from "../../src/function/define-function.ts";
import type { ByValue, Description } from "../../src/kinds/kind.ts";
import { kindNamed } from "../../src/kinds/registry.ts";
import { describeSchema } from "../../src/schema/description.ts";
import { formOf, shapesOf } from "../../src/schema/shapes.ts";
import { SAMPLES } from "../support/battery/battery.ts";
import { difference } from "../support/battery/difference.ts";
import { decodeFrame, encodeFrameOf } from "../support/frames.ts";

const LIMIT = 16 * 1024 * 1024;
const typed = kindNamed("typed");
const kept = { full: false, whenRoom: () => unexpected(), keep: () => unexpected() };

function unexpected(): never {
  throw new Error("the result did not fit");
}

const memory = (bytes: number) => new Uint8Array(new ArrayBuffer(bytes));

const Order = Type.Object({
  id: Type.String(),
  price: Type.Number(),
  side: Type.Union([Type.Literal("buy"), Type.Literal("sell")]),
  note: Type.Optional(Type.String()),
});
const order = { id: "o-1", price: 42.5, side: "buy", note: "at once" };

/** A function that returns what it gets, and what its caller knows of it, when the grant has brought that. */
function echo(input: TSchema, output = input, room = LIMIT) {
  const definition = defineFunction({ input, output }, (value) => value);
  const run = typed.prepare("echo", definition, kept);
  const description = decodeFrame(encodeFrameOf(typed.describe(definition, room))) as Description;
  const ctx = { memory: new ArrayBuffer(1024) } as never;
  /** The value's bytes, the result's, and the result. */
  const call = (value: unknown, known = description) => {
    const passing = typed.open(known, undefined) as ByValue;
    // The first values of a handle are MessagePack.
    for (let i = 0; i < 100; i++) passing.encoder.encode(null, memory(16), LIMIT);
    passing.check?.(value);
    const into = memory(64 * 1024);
    const length = passing.encoder.encode(value, into, LIMIT);
    const output = memory(64 * 1024);
    const written = run(into.slice(0, length), output, ctx) as number;
    const result = passing.decoder.decode(output, written, true);
    return { sent: into.slice(0, length), got: output.slice(0, written), result };
  };
  return { description, call };
}

/** The values of this description, to a caller of a version that knows nothing of shapes. */
function withoutForm({ input }: Description): Description {
  return { input, output: null };
}

describe("sides that know the same shapes", () => {
  test("pass neither the names of properties nor the words of a choice, both ways", () => {
    const { call } = echo(Order);
    const { sent, got, result } = call(order);
    expect(result).toStrictEqual(order);
    for (const bytes of [sent, got]) {
      expect(bytes[0]).toBe(MARK);
      expect(bytes[1]! & HEAD.shaped).toBe(HEAD.shaped);
      // A head, a price, a side, whether there is a note, two strings.
      expect(bytes.length).toBe(2 + 8 + 1 + 1 + (1 + 3) + (1 + 7));
    }
  });

  test("have the same name for them, and another for every other schema", () => {
    const forms = [
      Order,
      Type.Object({ id: Type.String() }),
      Type.Object({ id: Type.Optional(Type.String()) }),
      Type.Object({ ID: Type.String() }),
      Type.Union([Type.Literal("buy"), Type.Literal("sell")]),
      Type.Union([Type.Literal("sell"), Type.Literal("buy")]),
    ].map((schema) => formOf({ input: describeSchema(schema), output: null }));
    expect(new Set(forms).size).toBe(forms.length);
    const again = Type.Object(Order.properties);
    expect(formOf({ input: describeSchema(again), output: null })).toBe(forms[0]);
    expect(formOf({ input: null, output: null })).toBeUndefined();
  });

  test.each<[string, unknown]>([
    ["more properties", { ...order, further: { list: [1] } }],
    ["properties in another order", { side: "sell", note: "", price: -0, id: "" }],
    ["no prototype", Object.assign(Object.create(null), order)],
  ])("pass a value with %s all the same, and its result by its shape if it has one", (_, value) => {
    const { call } = echo(Order, Type.Any());
    expect(JSON.stringify(call(value).result)).toBe(JSON.stringify(value));
    const mirrored = echo(Order).call(value);
    expect(JSON.stringify(mirrored.result)).toBe(JSON.stringify(value));
    expect(mirrored.sent[1]! & HEAD.shaped).toBe(0);
  });

  test("refuse the same values in the same words as sides that do not", () => {
    const { call, description } = echo(Order);
    const refusal = (value: unknown, known: Description): unknown => {
      try {
        call(value, known);
        return "none";
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
        const { message, path } = error as InvalidValue;
        return { message, path };
      }
    };
    const values: unknown[] = [
      { ...order, id: "\ud800" },
      { ...order, price: "1" },
      { ...order, side: "hold" },
      { ...order, note: undefined, further: () => 1 },
      { ...order, [Symbol("s")]: 1 },
      Object.defineProperty({ ...order }, "hidden", { value: 1 }),
      new Map(),
    ];
    for (const value of values) {
      expect(refusal(value, description)).toEqual(refusal(value, withoutForm(description)));
      expect(refusal(value, description)).not.toBe("none");
    }
  });

  test("check what arrives, whatever its bytes are", () => {
    const definition = defineFunction(
      { input: Type.Integer({ minimum: 0 }), output: Type.Any() },
      (n) => n,
    );
    const run = typed.prepare("f", definition, kept);
    const bytes = memory(10);
    bytes.set([MARK, HEAD.shaped]);
    for (const wrong of [-1, 0.5, NaN, Infinity]) {
      new DataView(bytes.buffer).setFloat64(2, wrong, true);
      const ctx = { memory: bytes.buffer } as never;
      expect(() => run(bytes, memory(100), ctx)).toThrow(InvalidValue);
    }
  });

  test.each<[string, TSchema, number[]]>([
    ["a boolean that is neither", Type.Boolean(), [2]],
    ["a choice that there is not", Type.Union([Type.Literal("a"), Type.Literal("b")]), [2]],
    [
      "a property that is neither there nor not",
      Type.Partial(Type.Object({ a: Type.Null() })),
      [2],
    ],
    ["one of a union that has fewer", Type.Union([Type.String(), Type.Number()]), [2, 0]],
    ["text that is no UTF-8", Type.String(), [1, 0xff]],
    ["more bytes than the value takes", Type.Null(), [0]],
    ["fewer", Type.Number(), [0, 0, 0]],
  ])("refuse %s", (_, schema, bytes) => {
    const { output } = shapesOf({ input: null, output: describeSchema(schema) });
    const sent = new Uint8Array([MARK, HEAD.shaped, ...bytes]);
    const reads = new ShapedDecoder(new Decoder(), output);
    expect(() => reads.decode(sent, sent.length, true)).toThrow(Refusal);
  });

  test.each<[string, TSchema, unknown]>([
    ["of a list", Type.Array(Type.Union([Type.Number(), Type.Undefined()])), [1, , 3]],
    ["of a list of anything", Type.Object({ a: Type.Array(Type.Any()) }), { a: [1, , 3] }],
    ["of a tuple", Type.Tuple([Type.Any(), Type.Number()]), [, 3]],
  ])("refuse a hole %s", (_, schema, value) => {
    const { call } = echo(schema);
    expect(() => call(value)).toThrow("a hole in an array cannot travel; fill it");
  });

  test("pass an object that may lack everything, and does", () => {
    const { call } = echo(Type.Partial(Order));
    const { sent, result } = call({});
    expect(result).toStrictEqual({});
    expect(sent.length).toBe(2 + 4);
    const map = Object.setPrototypeOf(new Map(), Object.prototype);
    expect(() => call(map)).toThrow("a map with another prototype cannot travel");
  });

  test("let a getter make no call of its own while it is read", () => {
    const { call } = echo(Type.Object({ a: Type.Number() }));
    let reads = 0;
    const value = {
      get a() {
        // The first read is the schema's.
        return reads++ === 0 ? 1 : call({ a: 2 }).result;
      },
    };
    expect(() => call(value)).toThrow("makes a call of its own when it is read");
  });
});

test("the first values of a handle are MessagePack, and so are their results", () => {
  const { description } = echo(Order);
  const passing = typed.open(description, undefined) as ByValue;
  const into = memory(200);
  passing.encoder.encode(order, into, LIMIT);
  expect(into[0]).not.toBe(MARK);
});

describe("a caller that knows no shapes, or others", () => {
  test.each<[string, (description: Description) => Description]>([
    ["of a version without them", withoutForm],
    ["of a version with other ones", (description) => ({ ...description, form: "0".repeat(32) })],
  ])("%s, passes MessagePack and is answered with it", (_, known) => {
    const { call, description } = echo(Order);
    const { sent, got, result } = call(order, known(description));
    expect(result).toStrictEqual(order);
    const encoder = new Encoder();
    const into = memory(200);
    const plain = into.slice(0, encoder.encode(order, into));
    expect(sent).toEqual(plain);
    expect(got).toEqual(plain);
  });

  test("is told of no output for which there is no room, and reads it", () => {
    const input = JSON.stringify(describeSchema(Order)).length;
    const { call, description } = echo(Order, Order, input + 100);
    expect(description.output).toBeNull();
    const { sent, got, result } = call(order);
    expect(result).toStrictEqual(order);
    expect(sent[1]).toBe(HEAD.shaped);
    expect(got[0]).not.toBe(MARK);
  });

  test("calls a function whose output it cannot understand", () => {
    const { call, description } = echo(Order);
    const later = { ...description, output: { kind: "Tensor" } };
    expect(call(order, { ...later, form: formOf(later)! }).result).toStrictEqual(order);
  });
});

test("nothing that a schema names becomes part of the code", () => {
  const target = globalThis as { intruded?: boolean };
  const names = [
    `"]; globalThis.intruded = true; ["`,
    "`${globalThis.intruded = true}`",
    `\\"; globalThis.intruded = true; //`,
    "\u2028globalThis.intruded = true\u2029",
    "constructor",
    "a\\",
  ];
  const schema = Type.Object({
    ...Object.fromEntries(names.map((name) => [name, Type.Optional(Type.Number())])),
    choice: Type.Union(names.map((name) => Type.Literal(name))),
  });
  const { call } = echo(schema);
  for (const choice of names) {
    const value = { ...Object.fromEntries(names.map((name, i) => [name, i])), choice };
    const { sent, result } = call(value);
    expect(result).toStrictEqual(value);
    expect(sent[1]! & HEAD.shaped).toBe(HEAD.shaped);
  }
  expect(target.intruded).toBeUndefined();
});

describe("a part of any type within a shape", () => {
  const [encoder, decoder] = [new Encoder(), new Decoder()];
  const { input } = shapesOf({
    input: describeSchema(Type.Object({ n: Type.Number(), parts: Type.Array(Type.Any()) })),
    output: null,
  });
  const [writes, reads] = [
    new ShapedEncoder(encoder, input, false),
    new ShapedDecoder(decoder, input),
  ];
  const whole = (part: unknown) => ({ n: 1, parts: [part] });
  const into = memory(1024);
  /** What becomes of it: how it differs from one that no encoder has read, or why it is refused. */
  const outcome = (way: Pick<ShapedEncoder, "encode">, make: () => unknown): unknown => {
    try {
      const length = way.encode(whole(make()), into, LIMIT);
      const bytes = encoder.bytes.slice(0, length);
      return difference(whole(make()), reads.decode(bytes, length, true));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { path: error.path, message: error.message };
    }
  };

  test.each(SAMPLES)(
    "arrives, or is refused, as without one: $name",
    ({ make }) => expect(outcome(writes, make)).toEqual(outcome(encoder, make)),
    30_000,
  );
});
