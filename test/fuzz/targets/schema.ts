import { type TSchema, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { typedArray } from "../../../src/codec/typed-array.ts";
import { describeSchema, rebuildSchema, valueOfNothing } from "../../../src/schema/description.ts";
import { formOf, shapesOf } from "../../../src/schema/shapes.ts";
import { registerTypedArrays } from "../../../src/codec/typed-array.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { bytesOf, must, outcome, same, textOf } from "./outcome.ts";

registerTypedArrays();

const schemas: TSchema[] = [
  Type.Array(Type.Literal(5)),
  Type.Boolean(),
  Type.Unsafe({ type: "odd" }),
  Type.Object({ a: Type.Union([Type.Literal("x"), Type.Literal(5), Type.Undefined()]) }),
  Type.Union([Type.Number(), Type.String(), Type.Null()]),
  Type.Tuple([Type.Number({ default: 1 })]),
  Type.Object({ ["x".repeat(1025)]: Type.Null() }),
  Type.Union(Array.from({ length: 300 }, (_, i) => Type.Literal(i))),
  Type.Object(
    { a: Type.Number({ minimum: 1 }), b: Type.Optional(Type.String({ maxLength: 5 })) },
    { additionalProperties: false },
  ),
  Type.Union([Type.Literal("x"), Type.Literal(5), Type.Literal(true), Type.Null(), Type.Void()]),
  Type.Tuple([Type.Array(Type.Integer(), { minItems: 1 }), Type.Date(), Type.Uint8Array()]),
  Type.Record(Type.String(), Type.Boolean()),
  Type.Intersect([Type.Object({ a: Type.BigInt() }), Type.Object({ b: Type.Unknown() })]),
  typedArray("Float64Array", { length: 3 }),
  Type.Never(),
  Type.Array(Type.Tuple([])),
  Type.Object({}),
  Type.Union([Type.Any(), Type.Undefined()]),
  Type.String({ default: "x" }),
  Type.Record(Type.String({ pattern: "^a" }), Type.Null()),
  Type.Recursive((self) => Type.Array(self)),
  Type.Object({ 10: Type.Null(), a: Type.Number({ default: 1 }) }),
];
const tuple = (depth: number): unknown =>
  depth === 0 ? { kind: "Null" } : { kind: "Tuple", items: [tuple(depth - 1)] };

/** More of them than an input has room for. */
const many = Array.from({ length: 4095 }, () => ({ kind: "Number" }));
const manyFor = (_: string, value: unknown): unknown => (value === "@many" ? many : value);

/** What a node says of its functions, which a client compiles. */
export const subject: Subject = {
  seeds: [
    ...schemas.map((schema) => bytesOf(JSON.stringify(describeSchema(schema)))),
    ...[
      tuple(34),
      tuple(33),
      { kind: "Tuple", items: "@many" },
      { kind: "Tuple", items: [{ kind: "Tuple", items: "@many" }, tuple(1)] },
      { kind: "Union", of: "@many" },
      { kind: "Literal", value: null },
      { kind: "Object", properties: [[5, true, {}]] },
      { kind: "rfaas:TypedArray", array: "x" },
      { kind: "Odd" },
      { kind: 5 },
      null,
      { kind: "Tuple", items: 5 },
    ].map((one) => bytesOf(JSON.stringify(one))),
  ],
  tokens: [
    '"@many"',
    '{"kind":"',
    '"__proto__"',
    '["a",true,',
    '"items":',
    '"of":[',
    '"value":',
    "null",
    "[]",
  ],
  maxBytes: 4096,
  // Each of thousands of parts is looked at by several.
  work: 10_000_000,
  run(input) {
    let said: unknown;
    const text = textOf(input);
    try {
      said = text.includes('"@many"') ? JSON.parse(text, manyFor) : JSON.parse(text);
    } catch {
      return;
    }
    valueOfNothing(said);
    const schema = outcome(() => rebuildSchema(said), TypeError);
    const shapes = outcome(() => shapesOf({ input: said, output: null }), TypeError);
    must((schema === undefined) === (shapes === undefined) || said === null, "has a shape alone");
    if (!schema) return;
    for (const input of [said, null])
      for (const output of [said, undefined]) formOf({ input, output });
    shapesOf({ input: null, output: said });
    // Whatever it says, a value can be checked by it.
    Value.Check(schema, said);
    const description = describeSchema(schema);
    same(describeSchema(rebuildSchema(description)), description, "is described otherwise");
  },
};
